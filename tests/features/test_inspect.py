from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cosine_similarity

from pyg_mmkgc.errors import DataError
from pyg_mmkgc.features import Item, extract
from pyg_mmkgc.features.inspect import Coverage, inspect_features

from .tiny import texts


class Rows:
    """Encodes the text 'i' as the i-th row of a table."""
    kind, prepare = 'text', int

    def __init__(self, x):
        self.x = x

    def encode(self, batch):
        return self.x[batch]

    def describe(self):
        return {'name': 'rows'}


def write(folder, x, items=None, **kwargs):
    if items is None:
        items = texts(*((f'n{i:03}', str(i)) for i in range(x.size(0))))
    extract(items, Rows(x), folder, num_workers=0, progress=False, **kwargs)
    return folder


def test_planted_faults(tmp_path):
    x = torch.randn(40, 8)
    x[:, 3] = 0.25  # A dead channel.
    x[11] = x[5]  # Two groups of equal rows.
    x[20] = x[30] = x[7]
    x[15] = x[14] + 1e-3  # Nearly equal.
    x[15, 3] = 0.25
    x[39] = 0
    x[39, 3] = 0.25  # Short, not zero.
    report = inspect_features(write(tmp_path / 'f', x))
    assert report.shape == (40, 8) and report.dtype == torch.float
    assert report.encoder == 'rows'
    assert report.dead_channels == [3]
    assert report.duplicates == [['n007', 'n020', 'n030'], ['n005', 'n011']]
    (one, other, similarity), = report.near
    assert (one, other) == ('n014', 'n015') and similarity > 0.999
    assert torch.allclose(report.norms, x.norm(dim=1))
    assert report.num_bad == 0
    text = str(report)
    for line in ['40 rows, 8 channels, float32, by rows',
                 '40 of 40 (100.0 %) covered', '0.25 to ',
                 '5 rows equal another, in 2 groups; 1 pairs of nodes',
                 '1 of 8 (12.5 %)', 'equal: n007, n020, n030',
                 'nearly equal: n014, n015 (', 'dead: 3',
                 'neighbours of n000: ']:
        assert line in text


def test_neighbours_by_brute_force(tmp_path):
    x = torch.randn(60, 5)
    folder = write(tmp_path / 'f', x)
    report = inspect_features(folder, ['n007', 'n042'], k=4)
    centred = x - x.mean(dim=0)
    assert list(report.neighbours) == ['n007', 'n042']
    for label, found in report.neighbours.items():
        i = int(label[1:])
        similarity = cosine_similarity(centred[i:i + 1], centred)
        similarity[i] = -2
        value, index = similarity.sort(descending=True)
        assert [other for other, _ in found] == [
            f'n{j:03}' for j in index[:4].tolist()]
        assert torch.allclose(torch.tensor([s for _, s in found]), value[:4],
                              atol=1e-6)
    similarity = cosine_similarity(centred[:, None], centred[None], dim=-1)
    similarity.fill_diagonal_(-2)
    assert torch.allclose(report.closest, similarity.amax(dim=1), atol=1e-5)
    assert len(inspect_features(folder).neighbours) == 6
    with pytest.raises(DataError, match=r"node with features.*got 'n99'\)"):
        inspect_features(folder, ['n99'])


def test_blocks_change_nothing(tmp_path, monkeypatch):
    x = torch.randn(50, 4)
    x[:, 1] = 0.5
    x[:-1, 2] = x[-1, 2] - x[:-1, 2].abs()  # The last is the largest,
    x[:-1, 3] = x[-1, 3] + x[:-1, 3].abs()  # or the smallest.
    folder = write(tmp_path / 'f', x)
    whole = inspect_features(folder)
    monkeypatch.setattr('pyg_mmkgc.features.inspect._BLOCK', 7)
    blocks = inspect_features(folder)
    assert str(blocks) == str(whole)
    assert blocks.dead_channels == whole.dead_channels == [1]
    assert torch.equal(blocks.norms, whole.norms)
    assert torch.allclose(blocks.closest, whole.closest, atol=1e-6)


def test_all_rows_of_a_node(tmp_path):
    x = torch.tensor([[1., 0.], [0., 1.], [1., 1.], [0., 1.], [5., 1.]])
    items = texts(('a', '0'), ('a', '1'), ('b', '2'), ('c', '3'), ('d', '4'))
    report = inspect_features(write(tmp_path / 'f', x, items, pool='all'))
    assert report.shape == (5, 2)
    assert report.norms.numel() == 5 and report.closest.numel() == 4
    assert report.duplicates == [['a', 'c']]  # They share one row.
    mean = torch.tensor([[.5, .5], [1, 1], [0, 1], [5, 1]])
    mean -= mean.mean(dim=0)
    expected = cosine_similarity(mean[:1], mean[1:])
    found = dict(report.neighbours['a'])
    assert torch.allclose(torch.tensor([found[key] for key in 'bcd']),
                          expected, atol=1e-6)


def test_what_is_not_covered(tmp_path):
    items = texts(('a', '0'), ('b', '1'), ('stranger', '0'), ('b', '2'))
    items += [Item('c', '0', 'row 5', 'a broken one'),
              Item('a', '0', 'row 6', 'a broken one'),
              Item('d', '0', 'row 7', 'another')]
    folder = write(tmp_path / 'f', torch.eye(3), items,
                   labels=['a', 'b', 'c', 'd', 'e'])
    coverage = inspect_features(folder).coverage
    assert coverage == Coverage(
        kind='text', num_nodes=5, num_covered=2, num_items=6, num_used=3,
        reasons={'a broken one': 2, 'another': 1}, unknown=['stranger'])
    assert str(coverage).splitlines() == [
        'nodes          2 of 5 (40.0 %) covered; 1 entities are not in the '
        'graph',
        'texts          3 of 6 (50.0 %) usable',
        '               unusable: 2 x a broken one',
        '               unusable: 1 x another',
        '               not in the graph: stranger',
    ]


@pytest.mark.parametrize('dtype', [torch.half, torch.bfloat16])
def test_other_types(tmp_path, dtype):
    x = torch.randn(20, 6)
    x[4] = x[9]
    report = inspect_features(write(tmp_path / 'f', x, dtype=dtype))
    assert report.dtype == dtype and ['n004', 'n009'] in report.duplicates
    assert f'{dtype}'.removeprefix('torch.') in str(report)


@pytest.mark.parametrize('x', [torch.ones(1, 3), torch.ones(4, 3),
                               torch.zeros(2, 3)])
def test_features_without_any_difference(tmp_path, x):
    report = inspect_features(write(tmp_path / 'f', x))
    assert report.dead_channels == [0, 1, 2]
    assert report.near == []  # All of them are equal.
    assert len(report.neighbours) <= x.size(0) and str(report)


def test_a_folder_that_is_none(tmp_path):
    with pytest.raises(DataError, match='complete features'):
        inspect_features(tmp_path)
