import hashlib

import pytest
import torch

from pyg_mmkgc.datasets import FB15k237
from pyg_mmkgc.errors import DataError, FormatError
from pyg_mmkgc.features import extract_numbers, read_numbers

FILES = {
    'train.txt': '/m/b\tlikes\t/m/a\n/m/a\tknows\t/m/c\n/m/c\tlikes\t/m/d\n',
    'valid.txt': '/m/d\tknows\t/m/b\n',
    'test.txt': '/m/a\tlikes\t/m/e\n',
}


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setattr(FB15k237, 'sha256', {
        name: hashlib.sha256(text.encode()).hexdigest()
        for name, text in FILES.items()})
    folder = tmp_path / 'FB15k-237'
    folder.mkdir()
    for name, text in FILES.items():
        (folder / name).write_text(text)
    return tmp_path


def test_triples(root):
    data = FB15k237(root, features='none')[0]
    assert data.node_names == ['/m/b', '/m/a', '/m/c', '/m/d', '/m/e']
    assert data.relation_names == ['likes', 'knows']
    rows = {name: [kg.edge_index.tolist(), kg.edge_type.tolist()]
            for name, kg in data.splits().items()}
    assert rows == {'train': [[[0, 1, 2], [1, 2, 3]], [0, 1, 0]],
                    'val': [[[3], [0]], [1]], 'test': [[[1], [4]], [0]]}


def test_modalities_by_identifier_and_label(root):
    folder = root / 'FB15k-237'
    table = folder / 'numeric.tsv'
    table.write_text('/m/c\tage\t3\n/m/e\tage\t5\n')
    extract_numbers(read_numbers(table, header=False), folder / 'numeric')
    for _ in range(2):
        data = FB15k237(root)[0]
        assert data.modalities == ['numeric']
        assert data.mask_numeric.tolist() == [False, False, True, False, True]
        assert data.x_numeric[[2, 4]].tolist() == [[-1, 1], [1, 1]]
        (folder / 'labels.txt').write_text('Bo\nAlma\nCy\nDan\nEve\n')
    assert data.node_names[2] == 'Cy' and data.node_ids[2] == '/m/c'
    assert data.x_numeric.size(1) == 2


def test_errors(root):
    with pytest.raises(DataError, match='got none') as info:
        FB15k237(root)
    assert 'download' not in str(info.value)
    (root / 'FB15k-237' / 'test.txt').write_text('/m/a\tlikes\t/m/b\n')
    with pytest.raises(FormatError, match=r'test\.txt.*SHA-256'):
        FB15k237(root, features='none')


def test_the_real_files(shared_data):
    """The same numbering as in PyG."""
    data = FB15k237(shared_data, features='none')[0]
    assert (data.num_nodes, data.num_relations) == (14_541, 237)
    assert [kg.num_edges for kg in data.splits().values()] == [
        272_115, 17_535, 20_466]
    assert data.edge_index[:, 0].tolist() == [0, 1]
    first = data.split('train')
    assert int(first.edge_type[0]) == 0
    assert torch.equal(first.edge_index.flatten().unique(),
                       torch.arange(int(first.edge_index.max()) + 1))
