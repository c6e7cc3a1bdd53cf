from __future__ import annotations

import copy
import io
from pathlib import Path

import pytest
import torch
import torch_geometric.transforms as T
from torch import Tensor
from torch_geometric.data import Batch, Data
from torch_geometric.loader import NeighborLoader
from torch_geometric.loader.utils import filter_data
from torch_geometric.testing import onlyNeighborSampler

from pyg_mmkgc import AdaMF, evaluate
from pyg_mmkgc.data import KnowledgeGraph
from pyg_mmkgc.errors import DataError, FormatError
from pyg_mmkgc.io.tensors import load_tensors, save_tensors


def make_kg(**kwargs) -> KnowledgeGraph:
    """Returns a graph with six nodes (5 is unused) and six triples."""
    attributes = dict(
        edge_index=torch.tensor([[0, 1, 2, 3, 4, 0], [1, 2, 3, 4, 0, 2]]),
        edge_type=torch.tensor([0, 1, 0, 1, 0, 1]),
        num_nodes=6,
        num_relations=3,
        train_mask=torch.tensor([1, 1, 1, 0, 0, 1]).bool(),
        val_mask=torch.tensor([0, 0, 0, 1, 0, 0]).bool(),
        test_mask=torch.tensor([0, 0, 0, 0, 1, 0]).bool(),
        node_names=list('abcdef'),
        relation_names=['p', 'q', 'r'],
        filter_edge_index=torch.tensor([[0, 3], [4, 1]]),
        filter_edge_type=torch.tensor([2, 0]),
        x_visual=torch.arange(1., 13.).view(6, 2),
        mask_visual=torch.tensor([1, 1, 1, 1, 0, 1]).bool(),
        x_text=torch.ones(6, 3, dtype=torch.half),
    )
    return KnowledgeGraph(**(attributes | kwargs))


def triples(edge_index: Tensor, edge_type: Tensor) -> list[tuple[int, ...]]:
    return list(zip(*edge_index.tolist(), edge_type.tolist(), strict=True))


def test_knowledge_graph_basic() -> None:
    kg = make_kg()
    assert kg.validate()
    assert kg.num_nodes == 6 and kg.num_relations == 3 and kg.num_edges == 6
    assert kg.modalities == ['visual', 'text']
    assert kg.features()['visual'] is kg.x_visual
    assert kg.masks()['visual'] is kg.mask_visual
    assert kg.masks()['text'].tolist() == [True] * 6
    assert kg.num_node_features == kg.num_features == 5
    assert str(kg).startswith('KnowledgeGraph(edge_index=[2, 6], ')
    assert not isinstance(kg, Batch) and isinstance(kg, Data)


def test_knowledge_graph_infers_sizes() -> None:
    edges = dict(edge_index=torch.tensor([[0], [2]]),
                 edge_type=torch.tensor([1]))
    kg = KnowledgeGraph(**edges)
    assert (kg.num_nodes, kg.num_relations) == (3, 2)
    assert 'num_nodes' in kg and 'num_relations' in kg  # Stored, not inferred.
    kg = KnowledgeGraph(**edges, filter_edge_index=torch.tensor([[4], [0]]),
                        filter_edge_type=torch.tensor([6]))
    assert (kg.num_nodes, kg.num_relations) == (5, 7)
    kg = KnowledgeGraph(**edges, node_names=list('abcd'),
                        relation_names=list('xyz'))
    assert (kg.num_nodes, kg.num_relations) == (4, 3)
    kg = KnowledgeGraph(**edges, x_m=torch.ones(9, 1))
    assert kg.num_nodes == 9
    assert KnowledgeGraph().num_relations == 0
    kg = KnowledgeGraph(**edges, x_m=torch.ones(9, 1, dtype=torch.double))
    assert kg.x_m.dtype == torch.float and kg.validate()


def test_attribute_levels_with_as_many_nodes_as_edges() -> None:
    kg = make_kg(extra=torch.ones(6), edge_weight=torch.ones(6))
    assert kg.num_nodes == kg.num_edges
    edge = {'edge_index', 'edge_type', 'train_mask', 'val_mask', 'test_mask',
            'edge_weight'}
    node = {'x_visual', 'mask_visual', 'x_text', 'extra'}
    assert {key for key in kg.keys() if kg.is_edge_attr(key)} == edge
    assert {key for key in kg.keys() if kg.is_node_attr(key)} == node
    assert set(kg.node_attrs()) == node and set(kg.edge_attrs()) == edge
    # The number of filter triples may equal the number of nodes as well.
    kg = make_kg(filter_edge_index=kg.edge_index,
                 filter_edge_type=kg.edge_type)
    assert not kg.is_edge_attr('filter_edge_index')
    assert not kg.is_node_attr('filter_edge_type')
    assert kg.split('train').num_edges == 4


def test_split() -> None:
    kg = make_kg(edge_weight=torch.arange(6))
    train = kg.split('train')
    assert isinstance(train, KnowledgeGraph)
    assert triples(train.edge_index, train.edge_type) == [
        (0, 1, 0), (1, 2, 1), (2, 3, 0), (0, 2, 1)]
    assert train.edge_weight.tolist() == [0, 1, 2, 5]
    assert (train.num_nodes, train.num_relations) == (6, 3)
    assert train.x_visual is kg.x_visual
    assert train.mask_visual is kg.mask_visual
    assert train.node_names is kg.node_names
    for key in ['train_mask', 'val_mask', 'test_mask', 'filter_edge_index',
                'filter_edge_type']:
        assert key not in train and key in kg
    assert train.validate() and train.edge_index.is_contiguous()
    assert train.subgraph(torch.tensor([0, 1])).num_edges == 1
    # A graph without masks is its own training split.
    assert train.split('train').edge_index is train.edge_index
    assert list(train.splits()) == ['train']

    splits = kg.splits()
    assert list(splits) == ['train', 'val', 'test']
    assert [g.num_edges for g in splits.values()] == [4, 1, 1]
    none = torch.zeros(6, dtype=torch.bool)
    kg = make_kg(val_mask=none, test_mask=None)
    assert list(kg.splits()) == ['train']
    with pytest.raises(DataError, match="the split 'val' .got none"):
        kg.split('val')
    with pytest.raises(DataError, match="the split 'test' .got train, val"):
        kg.split('test')
    with pytest.raises(DataError, match="the split 'val' .got train.$"):
        train.split('val')
    with pytest.raises(DataError, match="the splits .*got 'valid'"):
        kg.split('valid')


def test_known_triples() -> None:
    kg = make_kg()
    known = triples(*kg.known_triples())
    assert known == triples(kg.edge_index, kg.edge_type) + [(0, 4, 2),
                                                            (3, 1, 0)]
    train = kg.split('train')
    assert train.known_triples()[0] is train.edge_index


@pytest.mark.parametrize('attributes', [
    {}, {'edge_index': torch.tensor([[0], [1]])},
    {'edge_type': torch.tensor([0])}])
def test_graphs_without_triples(attributes: dict[str, Tensor]) -> None:
    kg = KnowledgeGraph(num_nodes=3, **attributes)
    for call in (kg.known_triples, kg.audit):
        with pytest.raises(DataError, match="'edge_index' and 'edge_type' in "
                                            'the graph .got none'):
            call()


def test_copy_to_and_clone() -> None:
    kg = make_kg()
    for out in [copy.copy(kg), copy.deepcopy(kg), kg.clone(), kg.to('cpu'),
                kg.contiguous(), KnowledgeGraph.from_dict(kg.to_dict())]:
        assert type(out) is KnowledgeGraph
        assert type(out._store) is type(kg._store)
        assert list(out.keys()) == list(kg.keys())
        assert out.validate() and out.node_names == list('abcdef')
    other = copy.copy(kg)
    other.num_nodes = 7
    assert kg.num_nodes == 6
    with pytest.raises(DataError, match='7 names'):
        other.validate()


@pytest.mark.filterwarnings('ignore')
def test_validate_warns() -> None:
    kg = make_kg(train_mask=torch.ones(5, dtype=torch.bool), num_nodes=9)
    with pytest.warns(UserWarning, match="'train_mask' to be a bool tensor"):
        assert not kg.validate(raise_on_error=False)


def test_meta_device() -> None:
    # Filter and masks move to the device as well.
    kg = make_kg().to('meta')
    for key, value in kg:
        if isinstance(value, Tensor):
            assert value.is_meta, key


@pytest.mark.parametrize('as_mask', [False, True])
def test_subgraph(as_mask: bool) -> None:
    kg = make_kg()
    subset = torch.tensor([0, 1, 2, 4])
    if as_mask:
        mask = torch.zeros(6, dtype=torch.bool)
        mask[subset] = True
        out = kg.subgraph(mask)
    else:
        out = kg.subgraph(subset)
    assert type(out) is KnowledgeGraph
    assert out.num_nodes == 4 and out.num_relations == 3
    assert out.node_names == ['a', 'b', 'c', 'e']
    assert triples(out.edge_index, out.edge_type) == [
        (0, 1, 0), (1, 2, 1), (3, 0, 0), (0, 2, 1)]
    assert out.train_mask.tolist() == [True, True, False, True]
    assert out.test_mask.tolist() == [False, False, True, False]
    assert torch.equal(out.x_visual, kg.x_visual[subset])
    assert out.mask_visual.tolist() == [True, True, True, False]
    # The filter keeps (0, 2, 4), and node 4 is now node 3.
    assert triples(out.filter_edge_index, out.filter_edge_type) == [(0, 3, 2)]
    assert kg.node_names == list('abcdef') and kg.num_nodes == 6


def test_subgraph_keeps_order_of_indices() -> None:
    out = make_kg().subgraph(torch.tensor([4, 0]))
    assert out.node_names == ['e', 'a']
    assert triples(out.edge_index, out.edge_type) == [(0, 1, 0)]
    assert triples(out.filter_edge_index, out.filter_edge_type) == [(1, 0, 2)]
    assert out.relation_names == ['p', 'q', 'r']


def test_edge_subgraph() -> None:
    kg = make_kg()
    out = kg.edge_subgraph(torch.tensor([5, 3]))
    assert triples(out.edge_index, out.edge_type) == [(0, 2, 1), (3, 4, 1)]
    assert out.val_mask.tolist() == [False, True]
    assert out.num_nodes == 6 and out.x_visual is kg.x_visual
    assert out.filter_edge_index is kg.filter_edge_index


def test_transforms() -> None:
    kg = make_kg()
    out = T.Compose([T.ToUndirected(), T.Constant()])(kg)
    assert type(out) is KnowledgeGraph and out.num_edges == 12
    assert out.modalities == ['visual', 'text']
    largest = T.LargestConnectedComponents()(kg)
    assert largest.num_nodes == 5 and largest.node_names == list('abcde')


def test_batch() -> None:
    kgs = [make_kg(x_index=torch.ones(6, 2)) for _ in range(2)]
    batch = Batch.from_data_list(kgs)
    assert isinstance(batch, KnowledgeGraph)
    assert batch.num_nodes == 12 and batch.num_relations == 3
    assert batch.edge_index.max() == 10
    assert batch.filter_edge_index.tolist() == [[0, 3, 6, 9], [4, 1, 10, 7]]
    assert batch.x_visual.shape == (12, 2)
    # A modality may be called "index": it is neither shifted nor transposed.
    assert torch.equal(batch.x_index, torch.ones(12, 2))
    out = batch.get_example(1)
    assert type(out) is KnowledgeGraph and out.num_relations == 3
    assert out.node_names == list('abcdef')
    assert torch.equal(out.filter_edge_index, kgs[1].filter_edge_index)


def check_sample(kg: KnowledgeGraph, batch: KnowledgeGraph) -> None:
    assert type(batch) is KnowledgeGraph
    assert torch.equal(batch.x_visual, kg.x_visual[batch.n_id])
    assert torch.equal(batch.mask_visual, kg.mask_visual[batch.n_id])
    assert batch.edge_type.shape == batch.train_mask.shape
    assert batch.num_nodes == batch.n_id.numel()
    assert batch.num_relations == kg.num_relations
    global_index = batch.n_id[batch.edge_index]
    whole = triples(kg.edge_index, kg.edge_type)
    assert set(triples(global_index, batch.edge_type)) <= set(whole)
    assert batch.node_names is kg.node_names
    assert batch.validate()
    with pytest.raises(DataError, match='filter of the whole graph'):
        batch.known_triples()


def test_filter_data_as_neighbor_loader_does() -> None:
    kg = make_kg()
    node = torch.tensor([2, 0, 1])
    row, col, edge = torch.tensor([1, 2]), torch.tensor([0, 0]), \
        torch.tensor([5, 1])
    batch = filter_data(kg, node, row, col, edge)
    batch.n_id = node
    check_sample(kg, batch)
    assert kg.num_nodes == 6
    part = batch.subgraph(torch.tensor([0, 2]))
    assert part.n_id.tolist() == [2, 1]
    assert part.node_names is kg.node_names
    with pytest.raises(DataError, match="got a sampled batch with 'n_id'"):
        evaluate(AdaMF.from_data(batch, 4), batch)


@onlyNeighborSampler
def test_neighbor_loader() -> None:
    kg = make_kg()
    for batch in NeighborLoader(kg, num_neighbors=[2], batch_size=2):
        check_sample(kg, batch)


def test_many_labels_are_saved_as_bytes(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('pyg_mmkgc.io.strings.MANY', 2)
    kg = make_kg()
    kg.save(tmp_path / 'kg.safetensors')
    tensors, metadata = load_tensors(tmp_path / 'kg.safetensors')
    assert 'bytes of node_names' in tensors
    assert 'node_names' not in metadata['attributes']
    again = KnowledgeGraph.load(tmp_path / 'kg.safetensors')
    assert again.node_names == kg.node_names
    assert again.relation_names == kg.relation_names
    assert list(again.keys()) == list(kg.keys())


def test_save_and_load(tmp_path: Path) -> None:
    kg = make_kg(source='hand', x_a=torch.randn(6, 4).t().reshape(4, 6).t())
    kg.save(tmp_path / 'kg.safetensors')
    out = KnowledgeGraph.load(tmp_path / 'kg.safetensors')
    assert list(out.keys()) == list(kg.keys())
    assert out.modalities == ['visual', 'text', 'a']
    for key, value in kg:
        if isinstance(value, Tensor):
            assert torch.equal(out[key], value), key
            assert out[key].dtype == value.dtype, key
        else:
            assert out[key] == value, key
    assert out.validate()

    kg.thing = object()
    with pytest.raises(DataError, match="attribute 'thing' to save .got "):
        kg.save(tmp_path / 'other.safetensors')
    assert [p.name for p in tmp_path.iterdir()] == ['kg.safetensors']


def test_a_single_triple_is_saved(tmp_path: Path) -> None:
    kg = KnowledgeGraph.from_triples([('a', 'r', 'b')])
    kg.save(tmp_path / 'kg.safetensors')
    out = KnowledgeGraph.load(tmp_path / 'kg.safetensors')
    assert triples(out.edge_index, out.edge_type) == [(0, 1, 0)]


def test_load_errors(tmp_path: Path) -> None:
    path = tmp_path / 'kg.safetensors'
    make_kg().save(path)
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    with pytest.raises(FormatError, match=r'kg\.safetensors'):
        KnowledgeGraph.load(path)
    save_tensors(path, {'a': torch.ones(2)}, {'format': 'other'})
    with pytest.raises(FormatError, match='written by KnowledgeGraph.save'):
        KnowledgeGraph.load(path)


def test_torch_load_weights_only() -> None:
    file = io.BytesIO()
    torch.save(make_kg(), file)
    file.seek(0)
    out = torch.load(file, weights_only=True)
    assert type(out) is KnowledgeGraph and out.validate()
    assert out.split('train').num_edges == 4


@pytest.mark.skipif(not torch.cuda.is_available(), reason='no CUDA')
def test_cuda() -> None:
    kg = make_kg().to('cuda')
    assert kg.filter_edge_type.is_cuda and kg.validate()
    assert kg.split('test').edge_index.is_cuda
    assert kg.masks()['text'].is_cuda
    out = kg.subgraph(torch.tensor([4, 0], device='cuda'))
    assert out.node_names == ['e', 'a'] and out.filter_edge_index.is_cuda
