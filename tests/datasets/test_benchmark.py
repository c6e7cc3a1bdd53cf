import hashlib
import warnings

import pytest
import torch

from pyg_mmkgc.data import KnowledgeGraph
from pyg_mmkgc.datasets import DB15K, MKGW, MKGY
from pyg_mmkgc.datasets.benchmark import fixed_tenth
from pyg_mmkgc.errors import ConfigError

# The SHA-256 of the sorted held-out triples of DB15K, selected from
# train2id.txt by the function `mix` below, which is plain Python.
GOLDEN = (
    '46a56e34b23129cac2223da8674848fa'
    '3e2b5171a8c38de91ae05575b06c2947')


def triples(data):
    return set(zip(*data.edge_index.tolist(), data.edge_type.tolist(),
                   strict=True))


def filter_triples(data):
    return set(zip(*data.filter_edge_index.tolist(),
                   data.filter_edge_type.tolist(), strict=True))


def mix(head, tail, relation):
    """The hash of a triple, in Python's own integers."""
    mask = 2**64 - 1
    z = head * 2**40 + tail * 2**16 + relation
    z = ((z ^ z >> 30) * 0xbf58476d1ce4e5b9) & mask
    z = ((z ^ z >> 27) * 0x94d049bb133111eb) & mask
    return z ^ z >> 31


def test_fixed_tenth():
    edge_index = torch.randint(15_000, (2, 1009))
    edge_type = torch.randint(300, (1009, ))
    hashes = [mix(*triple) for triple in
              zip(*edge_index.tolist(), edge_type.tolist(), strict=True)]
    limit = sorted(hashes)[100]
    mask = fixed_tenth(edge_index, edge_type)
    assert mask.tolist() == [value < limit for value in hashes]
    # The selection does not depend on the order of triples.
    perm = torch.randperm(1009)
    assert torch.equal(fixed_tenth(edge_index[:, perm], edge_type[perm]),
                       mask[perm])


def test_db15k_on_a_small_graph(tmp_path, write, small):
    write(tmp_path / 'DB15K' / 'raw')
    for _ in range(2):  # Processed, then loaded.
        data = DB15K(tmp_path, features='none')[0]
        train, val = data.split('train'), data.split('val')
        assert train.num_edges == 33 and val.num_edges == 3
        assert not triples(train) & triples(val)
        assert triples(data.split('test')) == {(2, 7, 1), (3, 3, 2)}
        assert filter_triples(data) == {(0, 5, 0), (1, 2, 0)}
        assert getattr(data, 'selection_refused', '') == ''
        with pytest.warns(UserWarning, match='6,584'):
            official = DB15K(tmp_path, 'official', features='none')[0]
        assert triples(official.split('train')) == (triples(train)
                                                    | triples(val))
        assert triples(official.split('val')) == filter_triples(data)
        assert official.split('val').num_edges == 3
        assert 'filter_edge_index' not in official
        assert '6,584' in official.selection_refused


def test_the_refusal_stays_with_the_graph(tmp_path, write):
    write(tmp_path / 'DB15K')
    with pytest.warns(UserWarning):
        data = DB15K(tmp_path, 'official', features='none')[0]
    data.save(tmp_path / 'kg')
    for out in [data.split('val'), data.clone(), data.to('cpu'),
                KnowledgeGraph.load(tmp_path / 'kg'),
                data.subgraph(torch.arange(6))]:
        assert out.selection_refused == data.selection_refused != ''


def test_unknown_valid(tmp_path):
    with pytest.raises(ConfigError, match="'clean' or 'official'.*'dirty'"):
        DB15K(tmp_path, valid='dirty')


# The real files ##############################################################


def test_db15k_clean(shared_data):
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        data = DB15K(shared_data)[0]
    assert data.num_nodes == 12_842 and data.num_relations == 279
    assert data.x_text.size() == (12_842, 384)
    assert data.x_text.dtype == torch.half
    assert data.node_names[0] == 'Anarchism'
    train, val, test = (data.split(s) for s in ('train', 'val', 'test'))
    assert train.num_edges == 71_300
    assert val.num_edges == 7_922
    assert test.num_edges == 9_902
    known = [triples(kg) for kg in (train, val, test)]
    assert [len(t) for t in known] == [71_300, 7_922, 9_902]
    assert not known[0] & known[1] and not known[0] & known[2]
    assert not known[1] & known[2]
    published = filter_triples(data)
    assert data.filter_edge_type.numel() == 9_904
    assert len(published) == 7_481
    assert len(published & (known[0] | known[1])) == 6_584
    assert len(published & known[2]) == 824


def test_db15k_clean_is_the_same_everywhere(shared_data):
    data = DB15K(shared_data, features='none')[0]
    text = '\n'.join(f'{h} {t} {r}'
                     for h, t, r in sorted(triples(data.split('val'))))
    assert hashlib.sha256(text.encode()).hexdigest() == GOLDEN


def test_db15k_official(shared_data):
    with pytest.warns(UserWarning, match='824 test triples'):
        data = DB15K(shared_data, valid='official', features='none')[0]
    sizes = [kg.num_edges for kg in data.splits().values()]
    assert sizes == [79_222, 9_904, 9_902]
    assert 'memorizing' in data.selection_refused


@pytest.mark.parametrize('cls, num_relations, sizes, label', [
    (MKGW, 169, [34_196, 4_276, 4_274], 'My Darling Clementine'),
    (MKGY, 28, [21_310, 2_665, 2_663], 'Gilles Mbang Ondo'),
])
def test_mkg(shared_data, cls, num_relations, sizes, label):
    data = cls(shared_data)[0]
    assert data.num_nodes == 15_000 and data.num_relations == num_relations
    splits = data.splits()
    assert [kg.num_edges for kg in splits.values()] == sizes
    assert data.modalities == ['text']
    assert data.x_text.size() == (15_000, 384)
    assert data.node_names[0] == label
    seen = set(splits['train'].edge_index.flatten().tolist())
    assert 15_000 - len(seen) == {'MKG-W': 491, 'MKG-Y': 612}[cls.name]
    first = {'MKG-W': (13_624, 3_209, 41), 'MKG-Y': (6_427, 13_022, 9)}
    test = splits['test']
    assert (*test.edge_index[:, 0].tolist(),
            int(test.edge_type[0])) == first[cls.name]


@pytest.mark.parametrize('cls', [DB15K, MKGW, MKGY])
def test_nothing_is_written_into_the_folder_of_others(shared_data, cls):
    before = sorted(shared_data.rglob('*'))
    cls(shared_data)
    assert sorted(shared_data.rglob('*')) == before
