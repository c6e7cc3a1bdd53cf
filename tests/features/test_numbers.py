import json
import math
import re

import pytest
import torch

from pyg_mmkgc.data.alignment import align_features
from pyg_mmkgc.errors import DataError, FormatError
from pyg_mmkgc.features import (
    extract_numbers,
    inspect_features,
    load_feature_folder,
    read_numbers,
)
from pyg_mmkgc.features.numbers import parse_number

ROWS = [
    ('Alma', 'height', '1.6'), ('Bo', 'height', '1.8'),
    ('Bo', 'height', '2.0'), ('Cy', 'height', '1.4'),
    ('Alma', 'born', '1998-07-02'), ('Cy', 'born', '2000'),
    # From villages to cities: the deviation exceeds the mean.
    ('Alma', 'people', '1e2'), ('Bo', 'people', '100'),
    ('Cy', 'people', '1000000'),
    ('Bo', 'alone', '7'),
    ('Dan', 'height', 'tall'), ('Cy', 'height', 'nan'),
]


def write(path, rows=ROWS, header=True):
    lines = ['\t'.join(row) for row in rows]
    names = ['entity\tattribute\tvalue'] if header else []
    path.write_text('\n'.join([*names, *lines, '']))
    return path


@pytest.mark.parametrize('text, value', [
    ('3', 3.0), ('-0.5', -0.5), ('+2.', 2.0), ('.5', 0.5), ('1E3', 1000.0),
    ('1994.0904', 1994.0904),
    ('1998-07-02', 1998 + 182 / 365), ('1999-1-1', 1999.0),
    ('2000-12-31', 2000 + 365 / 366), ('1999-12', 1999 + 334 / 365),
    ('1900-03-01', 1900 + 59 / 365), ('2000-03-01', 2000 + 60 / 366),
    ('-044-03-15', -44 + (31 + 29 + 14) / 366),
    ('1999-05-05T10:00:00Z', 1999 + 124 / 365),
    ('1999-05-05+02:00', 1999 + 124 / 365)])
def test_numbers_and_dates(text, value):
    assert parse_number(text) == pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize('text', [
    '', 'tall', 'nan', 'inf', '1e999', '1_000', '1,5', '0x10', '1999-13-01',
    '1999-02-29', '1999-00-01', '1999-##-##', '٣'])
def test_neither_number_nor_date(text):
    with pytest.raises(FormatError, match='number or a date .got '):
        parse_number(text)


def test_values_by_hand(tmp_path):
    path = write(tmp_path / 'numeric.tsv')
    out = extract_numbers(read_numbers(path), tmp_path / 'numeric')
    assert out.kind == 'number' and out.labels == ['Alma', 'Bo', 'Cy']
    # Attributes in alphabetical order: alone, born, height, people.
    heights = torch.tensor([1.6, 1.9, 1.4])  # The mean of Bo's two heights.
    spread = ((heights - heights.mean()) ** 2).mean().sqrt()
    logs = torch.tensor([math.log(100), math.log(100), math.log(1e6)])
    deep = ((logs - logs.mean()) ** 2).mean().sqrt()
    wanted = torch.tensor([[0.0, -1.0, 0, 0, 0, 1, 1, 1],
                           [0.0, 0.0, 0, 0, 1, 0, 1, 1],
                           [0.0, 1.0, 0, 0, 0, 1, 1, 1]])
    wanted[:, 2] = (heights - heights.mean()) / spread
    wanted[:, 3] = (logs - logs.mean()) / deep
    torch.testing.assert_close(out.x, wanted)
    facts = out.manifest['attributes']
    assert [(a['name'], a['num'], a['scale']) for a in facts] == [
        ('alone', 1, 'linear'), ('born', 2, 'linear'), ('height', 3, 'linear'),
        ('people', 3, 'log')]
    assert facts[2]['mean'] == pytest.approx(1.4 / 3 + 1.6 / 3 + 1.9 / 3)
    assert facts[0] == {'name': 'alone', 'num': 1, 'scale': 'linear',
                        'mean': 7.0, 'std': 0.0}


def test_the_manifest_lists_unusable_values(tmp_path):
    path = write(tmp_path / 'numeric.tsv')
    out = extract_numbers(read_numbers(path), tmp_path / 'numeric',
                          labels=['Bo', 'Dan', 'Cy', 'Eve'])
    manifest = out.manifest
    assert out.labels == ['Bo', 'Cy']
    assert manifest['unknown'] == ['Alma']
    assert manifest['without'] == ['Dan', 'Eve']
    assert (manifest['num_items'], manifest['num_used']) == (9, 7)
    reason, = manifest['entities']['Dan']['unusable']
    assert reason['key'] == 'row 12' and "got 'tall'" in reason['reason']
    assert 'nan' in manifest['entities']['Cy']['unusable'][0]['reason']
    report = str(inspect_features(tmp_path / 'numeric'))
    assert '2 of 4 (50.0 %) covered' in report and '7 of 9' in report


def test_rows_of_nodes(tmp_path):
    path = write(tmp_path / 'numeric.tsv')
    extract_numbers(read_numbers(path), tmp_path / 'numeric',
                    dtype=torch.half)
    x, mask = align_features('numeric', tmp_path / 'numeric',
                             ['Cy', 'Eve', 'Bo', 'Alma'])
    assert x.dtype == torch.half and mask.tolist() == [True, False, True,
                                                       True]
    assert not x[1].any() and x[0, 5] == 1 and x[2, 5] == 0


@pytest.mark.parametrize('suffix, rows', [
    ('.tsv', 'Alma\theight\t1.5\nBo\theight\t2.5\n'),
    ('.csv', 'Alma,height,1.5\nBo,"height",2.5\n'),
])
def test_without_a_header(tmp_path, suffix, rows):
    path = tmp_path / f'numeric{suffix}'
    path.write_text(rows)
    out = extract_numbers(read_numbers(path, header=False), tmp_path / 'out')
    assert out.x.tolist() == [[-1.0, 1.0], [1.0, 1.0]]


def test_numbers_of_json(tmp_path):
    path = tmp_path / 'numeric.jsonl'
    path.write_text('\n'.join(json.dumps(row) for row in [
        {'value': 1.5, 'attribute': 'height', 'entity': 3},
        {'value': '2.5', 'attribute': 'height', 'entity': 'Bo'},
        {'value': None, 'attribute': 'height', 'entity': 'Cy'}]))
    out = extract_numbers(read_numbers(path), tmp_path / 'out')
    assert out.labels == ['3', 'Bo']
    assert out.x.tolist() == [[-1.0, 1.0], [1.0, 1.0]]
    path.write_text('{"entity": "Bo", "attribute": 3, "value": 1}')
    with pytest.raises(FormatError, match="'attribute' and as 'value'.*row 1"):
        read_numbers(path)


def test_again(tmp_path):
    """The same call returns the same features, another one is refused."""
    path = write(tmp_path / 'numeric.tsv')
    first = extract_numbers(read_numbers(path), tmp_path / 'numeric')
    before = (tmp_path / 'numeric' / 'manifest.json').stat().st_mtime_ns
    again = extract_numbers(reversed(read_numbers(path)), tmp_path / 'numeric')
    assert torch.equal(first.x, again.x)
    assert (tmp_path / 'numeric'
            / 'manifest.json').stat().st_mtime_ns == before
    write(path, [('Alma', 'height', '9'), *ROWS[1:]])
    with pytest.raises(DataError, match='changed since'):
        extract_numbers(read_numbers(path), tmp_path / 'numeric')
    with pytest.raises(DataError, match='got other ones: .*dtype'):
        extract_numbers(read_numbers(path), tmp_path / 'numeric',
                        dtype=torch.half)
    assert torch.equal(load_feature_folder(tmp_path / 'numeric').x, first.x)


def test_what_is_refused(tmp_path):
    path = write(tmp_path / 'numeric.tsv', [('Dan', 'height', 'tall')])
    with pytest.raises(DataError, match='usable value .got 1 unusable.*tall'):
        extract_numbers(read_numbers(path), tmp_path / 'numeric')
    assert not (tmp_path / 'numeric').exists()
    with pytest.raises(FormatError, match="'entity' and 'attribute' and"):
        read_numbers(write(path, header=False))
    with pytest.raises(FormatError, match='3 columns in row 1'):
        path.write_text('Dan\theight\n')
        read_numbers(path, header=False)
    with pytest.raises(FormatError, match='Expected rows'):
        read_numbers(write(path, []))
    for a, b in (('-1e300', '1e300'), ('1e-200', '3e-200')):
        write(path, [('Dan', 'mass', b), ('Eve', 'mass', a)])
        values = re.escape(f'from {float(a):.3g} to {float(b):.3g}')
        with pytest.raises(DataError, match="attribute 'mass' whose variance "
                           f'.*{values}'):
            extract_numbers(read_numbers(path), tmp_path / 'numeric')
    (tmp_path / 'numeric').mkdir()
    (tmp_path / 'numeric' / 'labels.txt').write_text('mine')
    with pytest.raises(DataError, match='separate folder'):
        extract_numbers(read_numbers(write(path)), tmp_path / 'numeric')


def test_an_interrupted_command_continues(tmp_path, monkeypatch):
    path = write(tmp_path / 'numeric.tsv', [('Dan', 'height', '2'),
                                            ('Eve', 'height', '4')])

    def killed(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr('pyg_mmkgc.features.numbers.write_manifest', killed)
        with pytest.raises(KeyboardInterrupt):
            extract_numbers(read_numbers(path), tmp_path / 'out')
    assert (tmp_path / 'out/features.safetensors').is_file()
    out = extract_numbers(read_numbers(path), tmp_path / 'out')
    assert out.x.tolist() == [[-1.0, 1.0], [1.0, 1.0]]
    assert not (tmp_path / 'out/.partial').exists()


def test_an_attribute_with_a_tab(tmp_path):
    path = tmp_path / 'numeric.jsonl'
    path.write_text(''.join(json.dumps(
        {'entity': 'Dan', 'attribute': name, 'value': 3}) + '\n'
        for name in ('birth\tdate', 'height')))
    out = extract_numbers(read_numbers(path), tmp_path / 'out')
    assert [x['name'] for x in out.manifest['attributes']] == ['height']
    reason, = out.manifest['entities']['Dan']['unusable']
    assert reason['reason'] == 'the attribute contains a tab'


def test_bytes_that_are_not_utf8(tmp_path):
    path = tmp_path / 'numeric.tsv'
    path.write_bytes(b'Alma\th\xff\t1\nAlma\theight\t2\nBo\theight\t4\n')
    out = extract_numbers(read_numbers(path, header=False), tmp_path / 'out')
    assert out.x.tolist() == [[-1.0, 1.0], [1.0, 1.0]]
    reason, = out.manifest['entities']['Alma']['unusable']
    assert reason['reason'] == 'the attribute is not UTF-8'
