from __future__ import annotations

import csv
import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch

from pyg_mmkgc.data import KnowledgeGraph
from pyg_mmkgc.errors import DataError, FormatError

TRAIN = b'a\tp\tb\nb\tq\tc\nc\tp\ta\n'
VAL, TEST = b'a\tq\tc\n', b'd\tr\tb\nb\tp\ta\n'


def write(folder: Path, **contents: bytes) -> dict[str, Path]:
    for name, content in contents.items():
        (folder / f'{name}.tsv').write_bytes(content)
    return {name: folder / f'{name}.tsv' for name in contents}


def labels(kg: KnowledgeGraph) -> list[tuple[str, str, str]]:
    return [(kg.node_names[h], kg.relation_names[r], kg.node_names[t])
            for h, r, t in zip(kg.edge_index[0].tolist(),
                               kg.edge_type.tolist(),
                               kg.edge_index[1].tolist(), strict=True)]


@pytest.mark.parametrize('change', [
    lambda content: content,
    lambda content: content.replace(b'\n', b'\r\n'),
    lambda content: content.rstrip(b'\n'),
    lambda content: b'Head\tRelation\tTail\n' + content,
    lambda content: b'subject\tpredicate\tobject\n' + content,
    lambda content: b'\xef\xbb\xbf' + content,
], ids=['plain', 'CRLF', 'no last newline', 'header', 'RDF header', 'BOM'])
def test_one_file_per_split(change: Any, tmp_path: Path) -> None:
    paths = write(tmp_path, train=change(TRAIN), val=change(VAL),
                  test=change(TEST))
    kg = KnowledgeGraph.from_tsv(paths['train'], val=paths['val'],
                                 test=str(paths['test']))
    assert kg.validate()
    assert kg.node_names == ['a', 'b', 'c', 'd']
    assert kg.relation_names == ['p', 'q', 'r']
    assert (kg.num_nodes, kg.num_relations) == (4, 3)
    assert labels(kg.split('train')) == [('a', 'p', 'b'), ('b', 'q', 'c'),
                                         ('c', 'p', 'a')]
    assert labels(kg.split('val')) == [('a', 'q', 'c')]
    assert labels(kg.split('test')) == [('d', 'r', 'b'), ('b', 'p', 'a')]

    again = KnowledgeGraph.from_tsv(paths['train'], paths['val'],
                                    paths['test'])
    assert torch.equal(again.edge_index, kg.edge_index)
    kg = KnowledgeGraph.from_tsv(paths['train'])
    assert list(kg.splits()) == ['train'] and 'train_mask' in kg
    kg = KnowledgeGraph.from_tsv(paths['train'], test=paths['test'])
    assert list(kg.splits()) == ['train', 'test']


def test_labels_with_spaces_and_unicode(tmp_path: Path) -> None:
    train = 'Österreich\tborders on\tČesko\n'.encode()
    kg = KnowledgeGraph.from_tsv(write(tmp_path, train=train)['train'])
    assert labels(kg) == [('Österreich', 'borders on', 'Česko')]


# Invalid files, and the place that the message names.
BROKEN = {
    'two columns': (b'a\tp\tb\na\tp\n', "row 2 .got 2 columns in 'a.*p'"),
    'four columns': (b'a\tp\tb\t1\n', 'row 1 .got 4 columns'),
    'spaces for tabs': (b'a p b\n', 'separated by tabs.*row 1 .got 1 col'),
    'count as in OpenKE': (b'1\n0 1 0\n', 'row 1 .got 1 columns'),
    'empty file': (b'', 'got an empty file'),
    'only newlines': (b'\n\n', 'got an empty file'),
    'only a header': (b'head\trelation\ttail\n', 'got none'),
    'blank line': (b'a\tp\tb\n\nb\tp\tc\n', 'row 2 .got'),
    'empty label': (b'a\tp\tb\n\tp\tb\n', 'labels without spaces.*row 2 .got'),
    'spaces around': (b'a\tp\tb \n', 'labels without spaces.*row 1 .got'),
    'UTF-16': (TRAIN.decode().encode('utf-16'),
               'row 1 .got the byte order mark'),
    'NUL byte': (b'a\tp\tb\nb\tp\0\tc\n', 'row 2 .got a NUL byte'),
    'not UTF-8': (b'a\tp\tb\nb\tp\t\xe9t\xe9\n', 'UTF-8.*row 2 .got'),
    'gzip bytes': (gzip.compress(TRAIN, mtime=0), 'got gzip'),
    'HTML': (b'<!DOCTYPE html>\n<html>', 'row 1 .got 1 columns'),
    'h, t, r under its header': (b'head\ttail\trelation\n' + TRAIN,
                                 'the columns head, relation, tail in this '
                                 r"order.*row 1 \(got \['head', 'tail'"),
}


@pytest.mark.parametrize('split', ['train', 'val', 'test'])
@pytest.mark.parametrize('name', BROKEN)
def test_broken_file(name: str, split: str, tmp_path: Path) -> None:
    content, message = BROKEN[name]
    paths = write(tmp_path, **({'train': TRAIN} | {split: content}))
    with pytest.raises(FormatError, match=message) as info:
        KnowledgeGraph.from_tsv(**paths)
    assert f"{split}.tsv'" in str(info.value)


@pytest.mark.parametrize('split, other, message', [
    ('test', 'train', r"\(got \('b', 'q', 'c'\) as triple 3 of "
     r"'.*test\.tsv' and triple 2 of '.*train\.tsv'"),
    ('val', 'train', r"triple 2 of '.*val\.tsv' and triple 2 of '.*train"),
    ('test', 'val', r"triple 3 of '.*test\.tsv' and triple 1 of '.*val\."),
])
def test_overlap(split: str, other: str, message: str,
                 tmp_path: Path) -> None:
    contents = {'train': TRAIN, 'val': VAL, 'test': TEST}
    contents[split] += contents[other].split(b'\n')[
        1 if other == 'train' else 0] + b'\n'
    paths = write(tmp_path, **contents)
    with pytest.raises(DataError, match=message):
        KnowledgeGraph.from_tsv(**paths)
    kg = KnowledgeGraph.from_tsv(**paths, allow_overlap=True)
    assert kg.audit().splits[split].overlaps[other] == 1


def random_file(tmp_path: Path, num_edges: int, num_nodes: int) -> Path:
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(num_nodes, (num_edges, 2), generator=generator)
    text = ''.join(f'n{h}\tr{i % 3}\tn{t}\n'
                   for i, (h, t) in enumerate(ids.tolist()))
    return write(tmp_path, all=text.encode())['all']


@pytest.mark.filterwarnings('ignore:Expected distinct triples')
def test_random_split(tmp_path: Path) -> None:
    path = random_file(tmp_path, 300, 40)
    whole = KnowledgeGraph.from_tsv(path)
    distinct = sorted(set(labels(whole)))
    assert len(distinct) < 300  # Some are repeated.
    with pytest.warns(UserWarning, match="distinct triples in .*all.tsv' .got "
                                         f'{300 - len(distinct)} repetitions'):
        kg = KnowledgeGraph.from_tsv(path, val_ratio=0.1, test_ratio=0.2,
                                     seed=1)
    assert sorted(labels(kg)) == distinct  # Each triple in one split, once.
    sizes = {name: split.num_edges for name, split in kg.splits().items()}
    assert sizes['val'] == round(0.1 * len(distinct))
    assert sizes['test'] == round(0.2 * len(distinct))
    report = kg.audit()
    assert report.unseen_nodes == report.unseen_relations == 0
    assert kg.node_names == whole.node_names

    same = KnowledgeGraph.from_tsv(path, val_ratio=0.1, test_ratio=0.2, seed=1)
    other = KnowledgeGraph.from_tsv(path, val_ratio=0.1, test_ratio=0.2)
    assert torch.equal(same.test_mask, kg.test_mask)
    assert not torch.equal(other.test_mask, kg.test_mask)
    kg = KnowledgeGraph.from_tsv(path, test_ratio=0.2)
    assert list(kg.splits()) == ['train', 'test']


def test_random_split_of_sparse_graph(tmp_path: Path) -> None:
    # Each triple is the only one of its nodes, so the ratio wins.
    content = b''.join(b'n%d\tp\tm%d\n' % (i, i) for i in range(10))
    path = write(tmp_path, all=content)['all']
    kg = KnowledgeGraph.from_tsv(path, test_ratio=0.3)
    assert kg.split('test').num_edges == 3
    assert kg.audit().splits['test'].unseen_node == 3
    with pytest.raises(DataError, match='enough triples .*got 10'):
        KnowledgeGraph.from_tsv(path, test_ratio=0.3, val_ratio=0.01)
    path = write(tmp_path, two=b'a\tp\tb\nb\tp\tc\n')['two']
    with pytest.raises(DataError, match='enough triples .*got 2'):
        KnowledgeGraph.from_tsv(path, test_ratio=0.49, val_ratio=0.49)


@pytest.mark.parametrize('kwargs, message', [
    (dict(test_ratio=1.0), "'test_ratio' to lie in .*got 1.0"),
    (dict(val_ratio=-0.1), "'val_ratio' to lie in .*got -0.1"),
    (dict(test_ratio=0.5, val_ratio=0.5),
     'leave triples to train .got 0.5 and 0.5'),
    (dict(test_ratio=0.5, test='train.tsv'),
     'either files or ratios.*got both'),
])
def test_bad_arguments(kwargs: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        KnowledgeGraph.from_tsv(write(tmp_path, train=TRAIN)['train'],
                                **kwargs)
    with pytest.raises(FileNotFoundError):
        KnowledgeGraph.from_tsv(tmp_path / 'absent.tsv')


def test_features(tmp_path: Path) -> None:
    paths = write(tmp_path, train=TRAIN, test=TEST)
    np.savez(tmp_path / 'image.npz', d=np.array([1., 0.]), b=np.ones(2))
    kg = KnowledgeGraph.from_tsv(
        **paths, features={
            'visual': tmp_path / 'image.npz',
            'text': {label: [float(i + 1)] for i, label in enumerate('cbda')},
        })
    assert kg.modalities == ['visual', 'text'] and kg.validate()
    assert kg.node_names == ['a', 'b', 'c', 'd']
    assert kg.x_visual.dtype == torch.float  # Cast once from double.
    assert kg.x_visual.tolist() == [[0, 0], [1, 1], [0, 0], [1, 0]]
    assert kg.mask_visual.tolist() == [False, True, False, True]
    assert kg.x_text.view(-1).tolist() == [4, 2, 1, 3]
    assert kg.mask_text.all()


@pytest.mark.parametrize('features, message', [
    ({'v': {'a': [1.0], 'b': [float('nan')]}}, "'v'.*NaN in row 1 .'b'."),
    ({'v': {'a': [float('inf')]}}, "'v'.*infinity in row 0 .'a'."),
    ({'v': {'a': [0.0]}}, "'v' to be nonzero.*got only zeros"),
    ({'v': {'a': [1]}}, "a vector of floats for 'a' .*'v' .got torch.int"),
    ({'v': {'a': 1.0}}, "a vector of floats for 'a' .*'v' .got"),
    ({'v': {'z': [1.0]}}, "'v' .got 1 labels, none of which is a node"),
    ({'v.w': {'a': [1.0]}}, "name without a dot .got 'v.w'"),
    ({'structure': {'a': [1.0]}}, 'got .structure'),
])
def test_bad_features(features: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        KnowledgeGraph.from_tsv(write(tmp_path, train=TRAIN)['train'],
                                features=features)


def test_features_that_are_no_dict(tmp_path: Path) -> None:
    path = write(tmp_path, train=b'a\tr\tb\n')['train']
    with pytest.raises(DataError, match='dict of modalities .got list'):
        KnowledgeGraph.from_tsv(path, features=['text'])


@pytest.mark.parametrize('row', ['head\trel_type\ttail', 'h\tlink\tt'])
def test_a_row_like_a_header(row: str, tmp_path: Path) -> None:
    path = write(tmp_path, train=f'{row}\na\tr\tb\n'.encode())['train']
    if 'link' not in row:
        assert KnowledgeGraph.from_tsv(path).num_edges == 1
        return
    with pytest.warns(UserWarning, match='row 1 .*looks like column names'
                      ) as caught:
        assert KnowledgeGraph.from_tsv(path).num_edges == 2
    assert caught[0].filename == __file__


TRICKY = [('"Quoted" City', 'in', 'Tab\tTown'), ('5" disk', 'of', '""'),
          ("L'Aquila", 'in', 'a,b'), ('北京', 'in', '"Quoted" City')]


@pytest.mark.parametrize('delimiter', ['\t', ',', ';'])
def test_labels_that_csv_and_pandas_wrote(delimiter: str,
                                          tmp_path: Path) -> None:
    path = tmp_path / 'x.tsv'
    for quoting in (csv.QUOTE_MINIMAL, csv.QUOTE_ALL):
        with open(path, 'w', newline='') as file:
            csv.writer(file, delimiter=delimiter,
                       quoting=quoting).writerows(TRICKY)
        kg = KnowledgeGraph.from_tsv(path, delimiter=delimiter)
        assert labels(kg) == TRICKY
    frame = pandas.DataFrame(TRICKY, columns=['s', 'p', 'o'])
    frame.insert(0, 'id', [1, 2, 3, 4])
    frame[['id', 'o', 's', 'p']].to_csv(path, sep=delimiter, index=False)
    kg = KnowledgeGraph.from_tsv(path, delimiter=delimiter,
                                 columns=['s', 'p', 'o'])
    assert labels(kg) == TRICKY
    frame.to_csv(path, sep=delimiter, index=False, header=False,
                 encoding='utf-16')
    kg = KnowledgeGraph.from_tsv(path, delimiter=delimiter,
                                 columns=[1, 2, 3], encoding='utf-16')
    assert labels(kg) == TRICKY


def test_quotes_that_are_part_of_a_label(tmp_path: Path) -> None:
    content = b'"Weird Al" Yankovic\tis\t"a"\n'
    path = write(tmp_path, train=content)['train']
    with pytest.raises(FormatError, match='row 1 .*quoting=3'):
        KnowledgeGraph.from_tsv(path)
    kg = KnowledgeGraph.from_tsv(path, quoting=csv.QUOTE_NONE)
    assert labels(kg) == [('"Weird Al" Yankovic', 'is', '"a"')]
    path.write_bytes(b'a\tp\tb\n"a\tp\nb"\tp\tc\n')  # Over two lines.
    with pytest.raises(FormatError, match='row 2 .*quoting=3'):
        KnowledgeGraph.from_tsv(path)


@pytest.mark.parametrize('kwargs, message', [
    ({'columns': ['head', 'rel', 'tail']},
     r"columns \['head', 'rel', 'tail'\] in .*row 1 .got \['a', 'p', 'b'"),
    ({'columns': [0, 1, 3]}, r'columns \[0, 1, 3\] in .*row 1 .got 3 col'),
    ({'columns': [0, 1, -1]}, r'columns \[0, 1, -1\] in .*got 3 columns'),
    ({'columns': ['head', 1, 2]}, "'columns' to hold the names or the pos"),
    ({'columns': 'abc'}, "'columns' to hold .*got 'abc'"),
    ({'delimiter': '||'}, "'delimiter' to be one character.*got '||'"),
    ({'delimiter': '"'}, "'delimiter' to be one character"),
    ({'delimiter': ','}, "separated by ',', in .*row 1 .got 1 columns"),
    ({'quoting': 7}, "'quoting' to be a constant of csv .*got 7"),
    ({'encoding': 'klingon'}, "a text encoding of Python .got 'klingon'"),
])
def test_bad_options(kwargs: dict, message: str, tmp_path: Path) -> None:
    path = write(tmp_path, train=TRAIN)['train']
    with pytest.raises(DataError, match=message):
        KnowledgeGraph.from_tsv(path, **kwargs)


def test_a_likely_wrong_order(tmp_path: Path) -> None:
    rows = [('a', 'b', 'p'), ('b', 'c', 'p'), ('c', 'd', 'q')]
    path = tmp_path / 'x.tsv'
    path.write_text(''.join('\t'.join(row) + '\n' for row in rows))
    with pytest.warns(UserWarning, match=r'second column with 3 .* third with '
                                         r'2.*columns=\[0, 2, 1\]') as caught:
        KnowledgeGraph.from_tsv(path)
    assert caught[0].filename == __file__
    kg = KnowledgeGraph.from_tsv(path, columns=[0, 2, 1])
    assert labels(kg) == [(h, r, t) for h, t, r in rows]
    # Few tails, as for a gender, are no reason for a warning.
    path.write_text('a\tp\tx\nb\tq\tx\nc\tr\tx\n')
    KnowledgeGraph.from_tsv(path)


def test_identifiers_with_labels_of_a_file(tmp_path: Path) -> None:
    names = write(tmp_path, names=b'Q1\tParis\nQ2\tFrance\n')['names']
    path = write(tmp_path, train=b'Q1\tin\tFrance\nQ3\tin\tQ2\n')['train']
    for given in (names, {'Q1': 'Paris', 'Q2': 'France'}):
        kg = KnowledgeGraph.from_tsv(path, node_names=given)
        assert kg.node_ids == ['Q1', 'Q2', 'Q3']
        assert kg.node_names == ['Paris', 'France', 'Q3']
    for content, message in ((b'Q1\n', 'an identifier and a label .*row 1'),
                             (b'Q1\ta\nQ1\tb\n', "row 2 .got 'b' for 'Q1'")):
        names.write_bytes(content)
        with pytest.raises(FormatError, match=message):
            KnowledgeGraph.from_tsv(path, node_names=names)


def test_files_are_read_in_parts(tmp_path: Path) -> None:
    """Errors and numbers do not depend on where a part of a file ends."""
    rows = [(f'ü{i % 700}', f'r{i % 3}', f'ü{i * 7 % 900}')
            for i in range(2000)]
    text = '\n'.join('\t'.join(row) for row in rows)
    path = write(tmp_path, train=text.encode())['train']
    kg = KnowledgeGraph.from_tsv(path)
    assert labels(kg) == rows
    assert kg.node_names == list(dict.fromkeys(
        label for head, _, tail in rows for label in (head, tail)))
    for broken, message in ((b'\n\xe9\tr\ta', 'UTF-8 in .*row 2001 .got'),
                            (b'\na\tr', 'row 2001 .got 2 columns'),
                            (b'\na\tr\t\0', 'row 2001 .got a NUL'),
                            (b'\n\n\na\tr\tb', "row 2001 .got ''")):
        path.write_bytes(text.encode() + broken)
        with pytest.raises(FormatError, match=message):
            KnowledgeGraph.from_tsv(path)
