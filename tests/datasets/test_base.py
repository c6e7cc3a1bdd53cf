import os
import pickle

import pytest
import torch

from pyg_mmkgc.data import KnowledgeGraph
from pyg_mmkgc.datasets import MMKGDataset
from pyg_mmkgc.errors import FormatError


class Small(MMKGDataset):
    reads = 0

    @property
    def processed_file_names(self):
        return 'small.safetensors'

    def read(self):
        type(self).reads += 1
        return KnowledgeGraph(
            edge_index=torch.tensor([[0, 1], [1, 2]]),
            edge_type=torch.tensor([0, 1]),
            num_nodes=4,
            num_relations=3,
            train_mask=torch.tensor([True, False]),
            test_mask=torch.tensor([False, True]),
            node_names=['a', 'b', 'c', 'ü'],
            x_text=torch.arange(8.).view(4, 2),
            note='some text',
        )


@pytest.fixture(autouse=True)
def count():
    Small.reads = 0


def double(data):
    data.x_text = data.x_text * 2
    return data


def triple(data):
    data.x_text = data.x_text * 3
    return data


def test_read_once(tmp_path):
    for _ in range(2):
        dataset = Small(tmp_path)
        assert len(dataset) == 1
        data = dataset[0]
        assert isinstance(data, KnowledgeGraph)
        assert data.num_nodes == 4 and data.num_relations == 3
        assert dataset.num_relations == 3
        assert data.node_names == ['a', 'b', 'c', 'ü']
        assert data.note == 'some text'
        assert data.x_text.tolist() == [[0, 1], [2, 3], [4, 5], [6, 7]]
        assert data.split('test').edge_index.tolist() == [[1], [2]]
    assert Small.reads == 1
    assert sorted(os.listdir(tmp_path / 'processed')) == [
        'small.json', 'small.safetensors'
    ]
    Small(tmp_path, force_reload=True)
    assert Small.reads == 2


def test_transform_and_pre_transform(tmp_path):
    dataset = Small(tmp_path, transform=triple, pre_transform=double)
    assert dataset[0].x_text[1].tolist() == [12, 18]
    assert dataset[0].x_text[1].tolist() == [12, 18]
    assert Small(tmp_path, pre_transform=double)[0].x_text[1, 0] == 4
    assert Small.reads == 1


def test_another_pre_transform_warns(tmp_path, recwarn):
    Small(tmp_path, pre_transform=double)
    Small(tmp_path, pre_transform=double)
    assert len(recwarn) == 0
    for other in [None, triple]:
        with pytest.warns(UserWarning, match='force_reload=True'):
            dataset = Small(tmp_path, pre_transform=other)
        assert dataset[0].x_text[1].tolist() == [4, 6]
    dataset = Small(tmp_path, pre_transform=triple, force_reload=True)
    assert dataset[0].x_text[1].tolist() == [6, 9]


def test_a_graph_without_its_record_is_read_anew(tmp_path):
    Small(tmp_path)
    os.unlink(tmp_path / 'processed' / 'small.json')
    Small(tmp_path)
    assert Small.reads == 2


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path, )


@pytest.mark.parametrize('name', [
    'pre_transform.pt', 'pre_filter.pt', 'data.pt', 'small.pt',
    'small.safetensors', 'small.json'
])
@pytest.mark.parametrize('zipped', [False, True])
def test_planted_files_do_not_run(tmp_path, name, zipped):
    marker = str(tmp_path / 'marker')
    Small(tmp_path)
    path = tmp_path / 'processed' / name
    if zipped:
        torch.save(Evil(marker), path)
    else:
        path.write_bytes(pickle.dumps(Evil(marker)))
    if name.startswith('small') and not name.endswith('.pt'):
        with pytest.raises(FormatError, match=name):
            Small(tmp_path)
    else:
        Small(tmp_path)
    # Processing again over the planted file must not run it either.
    Small(tmp_path, force_reload=True)
    assert len(Small(tmp_path)) == 1
    assert not os.path.exists(marker)


def test_the_planted_file_would_run(tmp_path):
    """The payloads of the test above are effective."""
    marker = str(tmp_path / 'marker')
    torch.save(Evil(marker), tmp_path / 'x.pt')
    torch.load(tmp_path / 'x.pt', weights_only=False)
    assert os.path.exists(marker)


def test_a_damaged_graph_is_refused(tmp_path):
    Small(tmp_path)
    path = tmp_path / 'processed' / 'small.safetensors'
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(FormatError, match=r'small\.safetensors'):
        Small(tmp_path)
