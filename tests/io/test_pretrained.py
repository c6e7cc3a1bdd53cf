"""Saved models load bit by bit, or raise a typed error."""

import hashlib
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.nn import kge as pyg_kge

from pyg_mmkgc import nn
from pyg_mmkgc.data import KnowledgeGraph
from pyg_mmkgc.datasets import FakeMMKG
from pyg_mmkgc.errors import (
    CheckpointError,
    DataError,
    FormatError,
    MMKGCError,
    ModelError,
)
from pyg_mmkgc.io import load_pretrained, save_pretrained
from pyg_mmkgc.io.manifest import seal
from pyg_mmkgc.io.tensors import load_tensors, save_tensors
from pyg_mmkgc.nn import AdaMF, AdaMFMAT, MMKGEModel, TransE

N, R, D = 9, 2, 3


def make(cls: type[AdaMF] = AdaMF, **kwargs: Any) -> AdaMF:
    names = kwargs.pop('names', ['visual', 'my text'])
    x = {name: torch.randn(N, 4) for name in names}
    masks = {name: torch.arange(N) > i for i, name in enumerate(names)}
    return cls(N, R, D, modalities=x, masks=masks, **kwargs)


@pytest.mark.parametrize('kwargs', [
    {}, {'names': []}, {'margin': 2.5}, {'fusion': 'shared'},
    {'fusion': 'mean'}, {'missing': 'zeros'}, {'missing': 'mean'},
    {'missing': 'learned'}, {'missing': 'drop'},
    {'structure': False}, {'trainable_features': True},
    {'num_negatives': 3}, {'sparse': True},
    {'cls': AdaMFMAT, 'adv_weight': 0.5, 'noise_channels': 2,
     'generator_channels': 5, 'fusion': 'shared', 'margin': 4.0}])
def test_round_trip(kwargs: dict[str, Any], tmp_path: Path) -> None:
    model = make(**kwargs)
    model.save_pretrained(tmp_path / 'new' / 'folder')
    rng = torch.get_rng_state()
    loaded = MMKGEModel.from_pretrained(tmp_path / 'new' / 'folder')
    assert torch.equal(torch.get_rng_state(), rng)
    assert type(loaded) is type(model) and not loaded.training
    assert loaded.config() == model.config()
    assert loaded.modalities == model.modalities
    state = model.state_dict()
    assert list(loaded.state_dict()) == list(state)
    for name, x in loaded.state_dict().items():
        assert torch.equal(x, state[name]) and x.dtype == state[name].dtype
    grads = {name: p.requires_grad for name, p in loaded.named_parameters()}
    assert grads == {name: p.requires_grad
                     for name, p in model.named_parameters()}
    assert torch.equal(loaded.encode(), model.encode())
    loaded.loss(*torch.zeros(3, 2).long()).backward()


def test_config_is_the_constructors() -> None:
    config = make(AdaMFMAT, margin=2.0).config()
    assert config == {
        'num_nodes': N, 'num_relations': R, 'hidden_channels': D,
        'margin': 2.0, 'fusion': 'adaptive', 'missing': 'random',
        'structure': True, 'trainable_features': False, 'drop_unseen': False,
        'encoder_channels': None, 'structure_dropout': 0.0,
        'num_negatives': 128, 'sparse': False, 'adv_weight': 0.01,
        'noise_channels': 64, 'generator_channels': 512}


@pytest.mark.parametrize('dtype', [torch.double, torch.bfloat16])
def test_other_precision(dtype: torch.dtype, tmp_path: Path) -> None:
    model = make().to(dtype)
    model.save_pretrained(tmp_path)
    loaded = AdaMF.from_pretrained(tmp_path)
    assert loaded.node_emb.weight.dtype == dtype
    assert torch.equal(loaded.encode(), model.encode())


def test_half_precision_features_stay_so(tmp_path: Path) -> None:
    model = AdaMF(N, R, D, {'text': torch.randn(N, 4).half()})
    model.save_pretrained(tmp_path)
    loaded = AdaMF.from_pretrained(tmp_path)
    assert loaded.encoders['text'].x.dtype == torch.half
    assert torch.equal(loaded.encode(), model.encode())


def test_labels(tmp_path: Path) -> None:
    kg = FakeMMKG(num_nodes=20, num_edges=60)[0]
    AdaMF.from_data(kg, 3).save_pretrained(tmp_path, kg)
    labels = json.loads((tmp_path / 'labels.json').read_text())
    assert labels == {'nodes': kg.node_names,
                      'relations': kg.relation_names}
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ['config.json', 'labels.json', 'manifest.json',
                     'model.safetensors']
    # Only a model that was built from a graph keeps labels.
    loaded = AdaMF.from_pretrained(tmp_path)
    assert loaded.node_names == kg.node_names
    assert loaded.relation_names == kg.relation_names
    loaded.save_pretrained(tmp_path)
    assert json.loads((tmp_path / 'labels.json').read_text()) == labels
    make().save_pretrained(tmp_path)
    assert AdaMF.from_pretrained(tmp_path).node_names is None


class Product(MMKGEModel):
    r"""A model that accepts modalities without encoding them."""
    def score(self, head: Tensor, rel_type: Tensor, tail: Tensor) -> Tensor:
        return (head * self.rel_emb(rel_type) * tail).sum(dim=-1)


class Forgetful(Product):
    def __init__(self, *args: Any, power: int = 2, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)


def test_a_model_of_ones_own(tmp_path: Path) -> None:
    kg = FakeMMKG(num_nodes=20, num_edges=60)[0]
    model = Product.from_data(kg, 3)
    model.save_pretrained(tmp_path / 'own')
    loaded = MMKGEModel.from_pretrained(tmp_path / 'own')
    triples = kg.edge_index[0], kg.edge_type, kg.edge_index[1]
    assert torch.equal(loaded(*triples), model(*triples))
    with pytest.raises(ModelError, match="Forgetful to keep .* 'power'"):
        Forgetful.from_data(kg, 3).save_pretrained(tmp_path / 'none')
    assert not (tmp_path / 'none').exists()


def test_a_model_that_is_written_over(tmp_path: Path, monkeypatch) -> None:
    """A killed save never leaves a mixture of two models."""
    make().save_pretrained(tmp_path)

    def killed(path: Path, *args: Any) -> None:
        save_tensors(path, *args)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr('pyg_mmkgc.io.pretrained.save_tensors', killed)
        with pytest.raises(KeyboardInterrupt):
            make(margin=3.0).save_pretrained(tmp_path)
    assert AdaMF.from_pretrained(tmp_path).margin == make().margin
    replace, moved = os.replace, []

    def killed_later(source: Path, target: Path) -> None:
        replace(source, target)
        if target.parent == tmp_path:
            moved.append(target)
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr('os.replace', killed_later)
        with pytest.raises(KeyboardInterrupt):
            make(margin=3.0).save_pretrained(tmp_path)
    assert moved
    with pytest.raises(CheckpointError, match="Expected 'manifest.json'"):
        AdaMF.from_pretrained(tmp_path)
    make(margin=3.0).save_pretrained(tmp_path)
    assert AdaMF.from_pretrained(tmp_path).margin == 3.0


def test_saving_leaves_other_files(tmp_path: Path) -> None:
    others = ['model_backup.safetensors', 'model-mine.safetensors', 'notes']
    for name in others:
        (tmp_path / name).write_text('mine')
    (tmp_path / 'model-00002-of-00002.safetensors').write_text('old')
    make().save_pretrained(tmp_path)
    assert sorted(x.name for x in tmp_path.iterdir()) == sorted([
        *others, 'config.json', 'labels.json', 'manifest.json',
        'model.safetensors'])
    assert {(tmp_path / name).read_text() for name in others} == {'mine'}


def test_labels_that_are_no_text(tmp_path: Path) -> None:
    model = make()
    model.save_pretrained(tmp_path)
    before = {x.name: x.read_bytes() for x in tmp_path.iterdir()}
    model.set_labels(['a\udcff', *map(str, range(1, model.num_nodes))], None)
    with pytest.raises(DataError, match='JSON .*surrogates not allowed'):
        model.save_pretrained(tmp_path)
    assert before == {x.name: x.read_bytes() for x in tmp_path.iterdir()}


def test_labels_of_another_numbering_are_not_saved(tmp_path: Path) -> None:
    kg = FakeMMKG(num_nodes=20, num_edges=60)[0]
    model = AdaMF.from_data(kg, 3)
    model.save_pretrained(tmp_path)
    other = KnowledgeGraph(kg.edge_index, kg.edge_type, num_nodes=20,
                           node_names=kg.node_names[::-1])
    with pytest.raises(ModelError, match='to be node 19 of .* .got node '):
        model.save_pretrained(tmp_path, other)
    other.node_names = [f'other {name}' for name in kg.node_names]
    with pytest.raises(ModelError, match="got 'other .*' as node 0, which "
                       'the model does not have'):
        model.save_pretrained(tmp_path, other)
    assert AdaMF.from_pretrained(tmp_path).node_names == kg.node_names


def test_of_data_of_pyg() -> None:
    data = Data(edge_index=torch.tensor([[0, 1], [2, 0]]), num_nodes=4,
                edge_type=torch.tensor([0, 2]), x=torch.randn(4, 5))
    with pytest.raises(ModelError, match=r'\(got Data\)\. Use '
                       'KnowledgeGraph.from_pyg'):
        AdaMF.from_data(data, 3)
    model = AdaMF.from_data(KnowledgeGraph.from_pyg(data), 3)
    assert (model.num_nodes, model.num_relations) == (4, 3)
    assert model.modalities == ['features']


def test_wrong_class(tmp_path: Path) -> None:
    make().save_pretrained(tmp_path / 'plain')
    make(AdaMFMAT).save_pretrained(tmp_path / 'mat')
    with pytest.raises(CheckpointError, match="AdaMFMAT.*got 'AdaMF'"):
        AdaMFMAT.from_pretrained(tmp_path / 'plain')
    assert type(AdaMF.from_pretrained(tmp_path / 'mat')) is AdaMFMAT


def test_many_labels(tmp_path: Path, monkeypatch: Any) -> None:
    kg = FakeMMKG(num_nodes=20, num_edges=60)[0]
    kg.node_names[3] = 'ünïcode'
    monkeypatch.setattr('pyg_mmkgc.io.strings.MANY', 20)
    model = AdaMF.from_data(kg, 3)
    model.save_pretrained(tmp_path)
    assert not (tmp_path / 'labels.json').exists()
    loaded = AdaMF.from_pretrained(tmp_path)
    assert loaded.node_names == kg.node_names
    assert loaded.relation_names == kg.relation_names
    assert loaded.node_ids is None
    monkeypatch.undo()
    model.save_pretrained(tmp_path)
    assert not (tmp_path / 'labels.safetensors').exists()
    assert AdaMF.from_pretrained(tmp_path).node_names == kg.node_names


def split(folder: Path, ids: tuple[list[int], list[int]]) -> AdaMF:
    """Saves a model, whose table of nodes is then split into two files."""
    model = make()
    model.save_pretrained(folder)
    state = load_tensors(folder / 'model.safetensors')[0]
    (folder / 'model.safetensors').unlink()
    rows = state.pop('node_emb.weight')
    shards = [f'model-0000{k}-of-00002.safetensors' for k in (1, 2)]
    for shard, some in zip(shards, ids, strict=True):
        save_tensors(folder / shard, {
            **(state if shard == shards[0] else {}),
            'node_emb.weight': rows[some],
            'ids of node_emb.weight': torch.tensor(some)})
    (folder / 'model.safetensors.index.json').write_text(json.dumps({
        'weight_map': {**{name: shards[:1] for name in state},
                       'node_emb.weight': shards},
        'rows': {'node_emb.weight': N}}))
    seal(folder)
    return model


def test_rows_in_several_files(tmp_path: Path) -> None:
    model = split(tmp_path, ([8, 0, 3, 5], [1, 7, 2, 6, 4]))
    loaded = AdaMF.from_pretrained(tmp_path)
    state = model.state_dict()
    assert list(loaded.state_dict()) == list(state)
    for name, x in loaded.state_dict().items():
        assert torch.equal(x, state[name])
    # A model in one file replaces all of them.
    model.save_pretrained(tmp_path)
    assert len(list(tmp_path.glob('*.safetensors*'))) == 1
    AdaMF.from_pretrained(tmp_path)


@pytest.mark.parametrize('ids', [
    ([8, 0, 3, 5], [1, 7, 2, 6]), ([8, 0, 3, 5], [1, 7, 2, 6, 8])])
def test_missing_rows(ids: tuple[list[int], list[int]],
                      tmp_path: Path) -> None:
    split(tmp_path, ids)
    with pytest.raises(FormatError, match='Expected all tensors of'):
        AdaMF.from_pretrained(tmp_path)


@pytest.mark.parametrize('change', [
    lambda x: {'node_emb.weight': x['node_emb.weight'].double()},
    lambda x: {'node_emb.weight': torch.tensor(1.0)},
    lambda x: {'node_emb.weight': x['node_emb.weight'][:, :0]},
    lambda x: {'node_emb.weight': x['node_emb.weight'][:, :1]},
    lambda x: {'node_emb.weight': x['node_emb.weight'][None]},
    lambda x: {'ids of node_emb.weight': torch.tensor(0)},
    lambda x: {'b': torch.ones(1), 'ids of b': torch.tensor([0])},
    lambda x: {'b': torch.tensor(1.0), 'ids of b': torch.tensor(0)},
])
def test_hostile_rows(change: Any, tmp_path: Path) -> None:
    split(tmp_path, ([8, 0, 3, 5], [1, 7, 2, 6, 4]))
    path = tmp_path / 'model-00002-of-00002.safetensors'
    tensors = load_tensors(path)[0]
    save_tensors(path, {**tensors, **{
        name: x.contiguous() for name, x in change(tensors).items()}})
    seal(tmp_path)
    with pytest.raises(FormatError, match='and their ids'):
        AdaMF.from_pretrained(tmp_path)


@pytest.mark.parametrize('count', [10**7, 10**12, 10**300, 0, -1])
def test_an_index_of_many_rows(count: int, tmp_path: Path,
                               monkeypatch: Any) -> None:
    """Each table may have as many rows as the files, but not each of them."""
    split(tmp_path, ([8, 0, 3, 5], [1, 7, 2, 6, 4]))
    path = tmp_path / 'model-00002-of-00002.safetensors'
    tensors = load_tensors(path)[0]
    names = [f'table {i}' for i in range(20)]
    save_tensors(path, {**tensors, **{
        f'{prefix}{name}': x for name in names for prefix, x in (
            ('', torch.ones(1, 4)), ('ids of ', torch.tensor([0])))}})
    index = tmp_path / 'model.safetensors.index.json'
    value = json.loads(index.read_text())
    value['rows'] |= dict.fromkeys(names, count)
    # The last has as many rows as all files have bytes for.
    size = sum(x.stat().st_size for x in tmp_path.glob('model-*'))
    value['rows'] |= dict.fromkeys(names[:-1], size // 16 // 2)
    index.write_text(json.dumps(value))
    seal(tmp_path)
    allocated = 0
    empty = Tensor.new_empty

    def new_empty(self: Tensor, *shape: Any) -> Tensor:
        nonlocal allocated
        out = empty(self, *shape)
        allocated += out.nbytes
        return out

    monkeypatch.setattr(Tensor, 'new_empty', new_empty)
    with pytest.raises(FormatError, match="'table 1' and their ids"):
        AdaMF.from_pretrained(tmp_path)
    assert allocated <= size


@pytest.mark.parametrize('name', [
    '../model-00002-of-00002.safetensors', '/model-00002-of-00002.safetensors',
    '', '.', '..', 'a\0', '\ud800', 'a' * 5000, 'config.json'])
def test_an_index_that_leads_elsewhere(name: str, tmp_path: Path) -> None:
    split(tmp_path / 'model', ([8, 0, 3, 5], [1, 7, 2, 6, 4]))
    file = 'model-00002-of-00002.safetensors'
    (tmp_path / 'model' / file).rename(tmp_path / file)
    index = tmp_path / 'model' / 'model.safetensors.index.json'
    value = json.loads(index.read_text())
    value['weight_map']['node_emb.weight'][1] = name
    index.write_text(json.dumps(value))
    seal(tmp_path / 'model')
    with pytest.raises(FormatError, match='Expected names like'):
        AdaMF.from_pretrained(tmp_path / 'model')


def test_rows_of_another_table(tmp_path: Path) -> None:
    split(tmp_path, ([8, 0, 3, 5], [1, 7, 2, 6, 4]))
    path = tmp_path / 'model-00002-of-00002.safetensors'
    tensors = load_tensors(path)[0]
    for ids in (torch.tensor([1, 7, 2, 6, N]), torch.tensor([1, 7, 2, 6]),
                torch.tensor([1, 7, 2, 6, -1]), torch.ones(5)):
        save_tensors(path, {**tensors, 'ids of node_emb.weight': ids})
        seal(tmp_path)
        with pytest.raises(FormatError, match="'node_emb.weight' and their"):
            AdaMF.from_pretrained(tmp_path)
    path.unlink()
    with pytest.raises(FormatError, match='model-00002-of-00002'):
        AdaMF.from_pretrained(tmp_path)


def test_no_model_here(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / 'none'):
        with pytest.raises(CheckpointError, match='config.json.*got none'):
            AdaMF.from_pretrained(folder)
    make().save_pretrained(tmp_path)
    (tmp_path / 'model.safetensors').unlink()
    with pytest.raises(FormatError, match="Expected 'model.safetensors'"):
        AdaMF.from_pretrained(tmp_path)
    seal(tmp_path)
    with pytest.raises(CheckpointError, match="Expected 'model.safetensors'"):
        AdaMF.from_pretrained(tmp_path)


@pytest.mark.parametrize('position', [5, 200, -3])
def test_corrupt_weights(position: int, tmp_path: Path) -> None:
    make().save_pretrained(tmp_path)
    path = tmp_path / 'model.safetensors'
    content = bytearray(path.read_bytes())
    content[position] ^= 4
    path.write_bytes(content)
    with pytest.raises(FormatError, match='model.safetensors'):
        AdaMF.from_pretrained(tmp_path)
    path.write_bytes(content[:-9])
    with pytest.raises(FormatError, match='model.safetensors'):
        AdaMF.from_pretrained(tmp_path)


def edit(folder: Path, name: str, change: Any) -> None:
    """Edits a file by hand, and seals the folder again."""
    path = folder / name
    if isinstance(change, dict):
        saved = json.loads(path.read_text())
        saved['arguments'] |= change
        change = json.dumps(saved)
    path.write_text(change)
    seal(folder)


WIDE = 10 ** 300


@pytest.mark.parametrize('change', [
    'not json', '[]', '{}', '{"class": "Linear"}', '{"class": "AdaMF"}',
    '{"class": ["AdaMF"], "arguments": {}, "modalities": {}}',
    '{"class": "AdaMF", "arguments": [], "modalities": {}}',
    '{"class": "AdaMF", "arguments": {}, "modalities": ["visual"]}',
    '{"class": "AdaMF", "arguments": {}, "modalities": {"visual": "4"}}',
    '{"class": "AdaMF", "arguments": {}, "modalities": {"none": 4}}',
    '{"class": "AdaMF", "arguments": {}, "modalities": {}, "version": 3}',
    '{"class": "AdaMF", "class": "AdaMF", "arguments": {}, "modalities": {}}',
    '[' * 100_000,
    {'hidden_channels': 4}, {'num_nodes': 99}, {'colour': 'red'},
    {'fusion': 'max'}, {'structure': False}, {'missing': 'learned'},
    {'hidden_channels': WIDE}, {'num_nodes': -1}, {'num_nodes': [9]},
    {'num_relations': None}, {'margin': 'high'}, {'self': 1},
    {'fusion': {}}])
def test_broken_config(change: Any, tmp_path: Path) -> None:
    make().save_pretrained(tmp_path)
    edit(tmp_path, 'config.json', change)
    with pytest.raises(MMKGCError):
        AdaMF.from_pretrained(tmp_path)


@pytest.mark.parametrize('number', ['1e999', '-1e999', 'NaN', 'Infinity'])
def test_a_number_that_is_none(number: str, tmp_path: Path) -> None:
    make(margin=1.5).save_pretrained(tmp_path)
    text = (tmp_path / 'config.json').read_text()
    edit(tmp_path, 'config.json', text.replace('1.5', number))
    with pytest.raises(FormatError, match='config.json'):
        AdaMF.from_pretrained(tmp_path)


@pytest.mark.parametrize('labels, message', [
    ('5', 'got int 5 instead of an object'), ('[]', 'of an object'),
    ('{"nodes": 5}', "got int 5 instead of .* as 'nodes'"),
    ('{"nodes": [5]}', r"got int 5 instead of .* as 'nodes\[0\]'"),
    ('{"nodes": "abc"}', "got str 'abc' instead of .* as 'nodes'"),
    ('{"node": []}', "unknown key 'node'"),
    (json.dumps({'nodes': ['x'] * 10}), 'at most 9 nodes .*got 10')])
def test_broken_labels(labels: str, message: str, tmp_path: Path) -> None:
    make().save_pretrained(tmp_path)
    edit(tmp_path, 'labels.json', labels)
    with pytest.raises(MMKGCError, match=message) as info:
        AdaMF.from_pretrained(tmp_path)
    assert 'labels.json' in str(info.value)


@pytest.mark.parametrize('name', sorted(
    set(nn.kge.__all__) - {'MMKGEModel', 'QueryModel'}))
def test_shapes_are_compared_before_a_model_is_made(name: str,
                                                    tmp_path: Path) -> None:
    """Sizes are checked before memory for a trillion nodes is allocated."""
    kg = FakeMMKG(num_nodes=20, num_edges=60)[0]
    model = getattr(nn, name).from_data(kg, 4)
    if hasattr(model, 'prepare'):
        model.prepare(kg.edge_index, kg.edge_type)
    model.save_pretrained(tmp_path)
    loaded = MMKGEModel.from_pretrained(tmp_path)
    triples = kg.edge_index[0], kg.edge_type, kg.edge_index[1]
    model.eval()
    assert torch.equal(loaded(*triples), model(*triples))
    assert torch.equal(loaded.encode(), model.encode())
    torch.manual_seed(1)
    loss = model.train().loss(*triples)
    torch.manual_seed(1)
    assert torch.equal(loaded.train().loss(*triples), loss)
    loaded.reset_parameters()  # All values are loaded.
    edit(tmp_path, 'config.json', {'num_nodes': 10 ** 12})
    with pytest.raises(MMKGCError) as info:
        MMKGEModel.from_pretrained(tmp_path)
    assert 'allocate' not in str(info.value)
    assert 'size mismatch for ' in str(info.value) or model.modalities


WRONG_FEATURES: dict[str, Any] = {
    'no mask': lambda t: t.pop('encoders.visual.mask'),
    'another mask': lambda t: t.update({
        'encoders.visual.mask': ~t['encoders.visual.mask']}),
    'a mask of numbers': lambda t: t.update({
        'encoders.visual.mask': t['encoders.visual.mask'].long()}),
    'a mask of nodes for rows': lambda t: t.update({
        'encoders.visual.x': t['encoders.visual.x'][:, None].expand(N, 4, 4)}),
    'no channels': lambda t: t.update({
        'encoders.visual.x': torch.zeros(N, 4, 0)}),
    'wide rows without channels': lambda t: t.update({
        'encoders.visual.x': torch.zeros(N, 1 << 30, 0)}),
    'one drawn row too few': lambda t: t.update({
        'encoders.visual.stand_in': t['encoders.visual.stand_in'][1:]}),
    'drawn rows that are wide': lambda t: t.update({
        'encoders.visual.stand_in': torch.zeros(1, 5)}),
    'drawn rows of another type': lambda t: t.update({
        'encoders.visual.stand_in': torch.zeros(1, 4).to(torch.float8_e5m2)}),
}


@pytest.mark.parametrize('change', WRONG_FEATURES.values(),
                         ids=WRONG_FEATURES.keys())
def test_features_that_do_not_fit(change: Any, tmp_path: Path) -> None:
    make(names=['text', 'visual']).save_pretrained(tmp_path)
    path = tmp_path / 'model.safetensors'
    tensors = dict(load_tensors(path)[0])
    change(tensors)
    save_tensors(path, tensors, {})
    seal(tmp_path)
    with pytest.raises(MMKGCError):
        AdaMF.from_pretrained(tmp_path)


@pytest.mark.parametrize('missing', ['random', 'zeros', 'mean', 'learned'])
def test_a_model_with_new_nodes(missing: str, tmp_path: Path) -> None:
    """It has the same rows in the place of missing rows."""
    kg = FakeMMKG(num_nodes=20, num_edges=60,
                  modalities={'visual': 6, 'text': 5})[0]
    more = kg.add_nodes('new', {'visual': {'new': torch.randn(6) + 50}}
                        ).add_nodes('other', {'text': {
                            'other': torch.randn(5) - 50}})
    model = AdaMF.from_data(kg, 4, structure=False, missing=missing)
    model = model.eval().extend(more).eval()
    model.save_pretrained(tmp_path)
    assert torch.equal(AdaMF.from_pretrained(tmp_path).encode(),
                       model.encode())


@pytest.mark.parametrize('missing', ['random', 'zeros', 'mean'])
def test_features_that_a_model_changes(missing: str, tmp_path: Path) -> None:
    """TransAE standardizes them, and must not do so again."""
    x = torch.randn(50, 5) * torch.tensor([1.0, 1e-3, 1e3, 1.0, 1.0]) + 7
    model = nn.TransAE(50, 2, 4, {'text': x}, {'text': torch.rand(50) < 0.6},
                       missing=missing).eval()
    model.save_pretrained(tmp_path)
    assert torch.equal(nn.TransAE.from_pretrained(tmp_path).encode(),
                       model.encode())


def test_little_memory_for_a_config_of_many_nodes(tmp_path: Path) -> None:
    TransE(9, 2, 1000).save_pretrained(tmp_path)
    edit(tmp_path, 'config.json', {'num_nodes': 4_000_000})
    code = ('import resource, sys\n'
            'from pyg_mmkgc.nn import TransE\n'
            'from pyg_mmkgc.errors import CheckpointError\n'
            'used = int(open("/proc/self/statm").read().split()[0])\n'
            'size = used * resource.getpagesize() + (1 << 30)\n'
            'resource.setrlimit(resource.RLIMIT_AS, (size, size))\n'
            'try: TransE.from_pretrained(sys.argv[1])\n'
            'except CheckpointError as error: print(error)\n')
    done = subprocess.run([sys.executable, '-c', code, str(tmp_path)],
                          capture_output=True, text=True)
    assert 'size mismatch for node_emb.weight' in done.stdout, done.stderr


def flips(path: Path) -> Iterator[None]:
    content = path.read_bytes()
    for i in range(len(content)):
        flipped = bytearray(content)
        flipped[i] ^= 1 << i % 8
        path.write_bytes(flipped)
        yield
    path.write_bytes(content)


@pytest.mark.parametrize('name', ['config.json', 'labels.json',
                                  'manifest.json', 'model.safetensors'])
def test_no_flipped_bit_is_loaded(name: str, tmp_path: Path) -> None:
    kg = FakeMMKG(num_nodes=5, num_edges=12)[0]
    TransE.from_data(kg, 2).save_pretrained(tmp_path)
    for _ in flips(tmp_path / name):
        with pytest.raises(MMKGCError, match='json|safetensors'):
            TransE.from_pretrained(tmp_path)
    TransE.from_pretrained(tmp_path)


@pytest.mark.parametrize('name', ['labels.json', 'model.safetensors'])
def test_no_file_is_missed(name: str, tmp_path: Path) -> None:
    make().save_pretrained(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(FormatError, match=f"Expected '{name}'.*manifest.json"):
        AdaMF.from_pretrained(tmp_path)


def test_a_folder_that_is_edited_by_hand(tmp_path: Path) -> None:
    """The command in the error message seals the folder."""
    make().save_pretrained(tmp_path)
    saved = json.loads((tmp_path / 'config.json').read_text())
    saved['arguments']['margin'] = 7.5
    (tmp_path / 'config.json').write_text(json.dumps(saved))
    with pytest.raises(FormatError, match='was changed.*seal them: ') as info:
        AdaMF.from_pretrained(tmp_path)
    command = str(info.value).partition('seal them: ')[2]
    assert command.startswith('python -c ')
    done = subprocess.run([sys.executable, *shlex.split(command)[1:]])
    assert done.returncode == 0
    assert AdaMF.from_pretrained(tmp_path).margin == 7.5


def test_the_manifest_names_what_sha256sum_finds(tmp_path: Path) -> None:
    make().save_pretrained(tmp_path)
    files = json.loads((tmp_path / 'manifest.json').read_text())['files']
    assert files == {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in tmp_path.iterdir() if path.name != 'manifest.json'}


def test_a_folder_of_an_earlier_version(tmp_path: Path) -> None:
    model = make()
    model.save_pretrained(tmp_path)
    (tmp_path / 'manifest.json').unlink()
    # In this version, a folder without a manifest is incomplete.
    with pytest.raises(CheckpointError, match="Expected 'manifest.json'"):
        AdaMF.from_pretrained(tmp_path)
    saved = json.loads((tmp_path / 'config.json').read_text())
    del saved['version']
    (tmp_path / 'config.json').write_text(json.dumps(saved))
    with pytest.warns(UserWarning, match='earlier version.*seal'):
        loaded = AdaMF.from_pretrained(tmp_path)
    assert torch.equal(loaded.encode(), model.encode())
    seal(tmp_path)
    AdaMF.from_pretrained(tmp_path)


def test_equal_models_give_equal_files(tmp_path: Path) -> None:
    model = make()
    first = {}
    for i in range(8):
        folder = tmp_path / str(i)
        model.save_pretrained(folder)
        files = {path.name: path.read_bytes() for path in folder.iterdir()}
        assert files == (first := first or files)
        model = AdaMF.from_pretrained(folder)


@pytest.mark.parametrize('folder', ['a\0b', 'a\ud800b', 5, None, b'x'])
def test_no_path(folder: Any) -> None:
    with pytest.raises(MMKGCError, match='Expected the path of a file'):
        AdaMF.from_pretrained(folder)
    with pytest.raises(MMKGCError, match='Expected the path of a file'):
        make().save_pretrained(folder)


class Sharp(AdaMF):
    def __init__(self, *args: Any, sharpness: float = 2.0,
                 **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.sharpness = sharpness


def test_a_subclass_that_passes_arguments_on(tmp_path: Path) -> None:
    data = FakeMMKG(num_nodes=N, num_edges=30, seed=1)[0]
    model = Sharp.from_data(data, D, sharpness=3.0, margin=5.0)
    assert model.modalities == data.modalities  # Nothing is dropped.
    model.save_pretrained(tmp_path, data)
    loaded = Sharp.from_pretrained(tmp_path)
    assert (loaded.sharpness, loaded.margin) == (3.0, 5.0)
    assert torch.equal(loaded.encode(), model.encode())


@pytest.mark.parametrize('name, options', [
    ('TransE', {'margin': 2.0, 'p_norm': 2.0}), ('DistMult', {}),
    ('ComplEx', {'sparse': True}), ('RotatE', {'margin': 3.0})])
def test_models_of_pyg(name: str, options: dict[str, Any],
                       tmp_path: Path) -> None:
    """They have no such method, but are saved and loaded as well."""
    kg = FakeMMKG(num_nodes=20, num_edges=60)[0]
    cls = getattr(pyg_kge, name)
    model = cls(kg.num_nodes, kg.num_relations, 4, **options)
    save_pretrained(model, tmp_path, kg)
    again = load_pretrained(tmp_path)
    assert type(again) is cls and not again.training
    assert again.node_names == kg.node_names
    assert again.relation_names == kg.relation_names
    assert again.node_emb.sparse == options.get('sparse', False)
    for key, value in options.items():
        if key != 'sparse':
            assert getattr(again, key) == value
    triples = torch.tensor([[0, 1], [0, 1], [2, 3]])
    assert torch.equal(again(*triples), model.eval()(*triples))
    with pytest.raises(CheckpointError, match=rf"got 'PyG\.{name}'"):
        MMKGEModel.from_pretrained(tmp_path)
    again.reset_parameters()  # All values are loaded.
    edit(tmp_path, 'config.json', {'num_nodes': 10 ** 12})
    with pytest.raises(CheckpointError, match='size mismatch for node_emb'):
        load_pretrained(tmp_path)
    # A change of a file is noticed.
    (tmp_path / 'config.json').write_text(
        (tmp_path / 'config.json').read_text().replace(': 4', ': 5'))
    with pytest.raises(FormatError):
        load_pretrained(tmp_path)


def test_any_model_of_the_library(tmp_path: Path) -> None:
    model = make(AdaMFMAT)
    save_pretrained(model, tmp_path)
    again = load_pretrained(tmp_path)
    assert type(again) is AdaMFMAT
    for key, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[key], value)


def test_other_modules_are_refused(tmp_path: Path) -> None:
    class Mine(pyg_kge.TransE):
        pass

    for model in (torch.nn.Linear(2, 2), Mine(4, 2, 3)):
        with pytest.raises(ModelError, match='of this library or of PyG .got '
                           f"'{type(model).__name__}'"):
            save_pretrained(model, tmp_path / 'a')
    assert not (tmp_path / 'a').exists()
