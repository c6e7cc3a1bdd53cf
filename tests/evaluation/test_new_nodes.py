"""Trained models on graphs with nodes that came after training."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch_geometric.nn.kge import TransE as PyGTransE

from pyg_mmkgc import (
    AdaMF,
    AdaMFMAT,
    FakeMMKG,
    KnowledgeGraph,
    Trainer,
    evaluate,
    explain,
    predict,
)
from pyg_mmkgc.errors import ModelError
from pyg_mmkgc.evaluation import most_similar, score
from pyg_mmkgc.nn import NativE, NBFNet, RotatE
from pyg_mmkgc.sampler import UniformSampler


def graph() -> KnowledgeGraph:
    return FakeMMKG(num_nodes=30, num_relations=3, num_edges=90,
                    modalities={'visual': 5, 'text': 4})[0]


def trained(cls: Any = AdaMF, **kwargs: Any) -> tuple[Any, KnowledgeGraph]:
    kg = graph()
    kwargs = {'drop_unseen': True, **kwargs}
    model = cls.from_data(kg, hidden_channels=8, margin=3.0, **kwargs)
    train = kg.split('train')
    model.prepare(train.edge_index, train.edge_type)
    return model.eval(), kg


def twin(kg: KnowledgeGraph, node: int, names: str = 'new',
         **kwargs: Any) -> KnowledgeGraph:
    """A graph with a new node that has the features of another one."""
    return kg.add_nodes(names, {
        name: {names: x[node].clone()} for name, x in kg.features().items()
        if kg.masks()[name][node]}, **kwargs)


@pytest.mark.parametrize('cls', [AdaMF, AdaMFMAT, NativE])
@pytest.mark.parametrize('missing', ['random', 'zeros', 'learned', 'drop'])
def test_old_scores_stay_and_new_nodes_are_their_modalities(
        cls: Any, missing: str) -> None:
    model, kg = trained(cls, missing=missing)
    node = int((kg.mask_visual & ~kg.mask_text).nonzero()[0])
    more = twin(kg, node)
    before = model.encode().detach()
    out = model.extend(more)
    assert out.num_nodes == 31 and model.num_nodes == 30
    torch.testing.assert_close(out.encode()[:30], before)
    # The node has a visual view alone: it is the whole representation.
    view = out.embed(torch.tensor([30]))
    assert not bool(view['structure'].any()) and not bool(view['text'].any())
    if cls is not NativE:
        wanted = model.encoders['visual'](torch.tensor([node]))
        torch.testing.assert_close(out.encode(torch.tensor([30])), wanted)
    triple = [(3, 0, 'new')]
    wanted = out(torch.tensor([3]), torch.tensor([0]), torch.tensor([30]))
    torch.testing.assert_close(score(model, more, triple), wanted.detach())
    assert model.encode().equal(before)


def test_questions() -> None:
    model, kg = trained()
    node = int((kg.mask_visual & kg.mask_text).nonzero()[0])
    more = twin(kg, node, triples=[('new', 0, 4), (5, 1, 'new')],
                split='test')
    found = predict(model, more, head='new', rel_type=0, k=31)
    assert sorted(found.answer[0].tolist()) == [-1, *range(30)]
    out = model.extend(more)
    every = torch.arange(30)
    wanted = out(torch.tensor([30]).expand(30), torch.zeros_like(every),
                 every)
    order = wanted.argsort(descending=True, stable=True)
    assert found.answer[0, :30].tolist() == order.tolist()
    assert predict(model, more, rel_type=1, tail='new').answer.max() <= 30
    assert predict(model, more, head='new', tail=4).side == 'relation'

    # A node with the structure of its twin left out is its nearest.
    model.seen[node] = False
    found = most_similar(model, more, 'new', k=1)
    assert found.node.item() == node
    assert found.similarity.item() == pytest.approx(1.0)
    page = explain(model, more, 'new', 0, 4)
    assert page.head == 'new' and page.known == 'test'

    result = evaluate(model, more, 'test')
    assert result.protocol['num_nodes'] == 31
    assert result.slices['entities']['unseen']['count'] == 4
    with pytest.raises(ModelError, match='nodes of the graph'):
        evaluate(model, more.subgraph(torch.arange(29)), 'test')


def test_ranks_by_hand() -> None:
    model, kg = trained()
    node = int((kg.mask_visual & kg.mask_text).nonzero()[0])
    more = twin(kg, node, triples=[('new', 0, 4)], split='test')
    keep = more.test_mask.nonzero()[-1]
    more.test_mask = torch.zeros_like(more.test_mask)
    more.test_mask[keep] = True
    out, every = model.extend(more), torch.arange(31)
    rel = torch.zeros_like(every)
    tails = out(torch.full_like(every, 30), rel, every)
    heads = out(every, rel, torch.full_like(every, 4))
    known = {(h, r, t) for h, t, r in zip(
        *more.edge_index.tolist(), more.edge_type.tolist(), strict=True)}
    ranks = []
    for scores, target, make in (
            (heads, 30, lambda x: (x, 0, 4)), (tails, 4,
                                               lambda x: (30, 0, x))):
        others = [x for x in range(31) if x != target
                  and make(x) not in known]
        ranks.append(1 + int((scores[others] > scores[target]).sum()))
    result = evaluate(model, more, 'test')
    assert result.ranks.by_ties('realistic').tolist() == ranks


def test_trained_with_the_trainer_and_loaded(tmp_path: Path) -> None:
    kg = graph()
    model = AdaMF.from_data(kg, hidden_channels=8, margin=3.0,
                            drop_unseen=True, structure_dropout=0.3)
    Trainer(model, kg, sampler=UniformSampler(4), epochs=2, batch_size=32,
            progress=False).fit()
    model.save_pretrained(tmp_path / 'model')
    again = AdaMF.from_pretrained(tmp_path / 'model')
    assert again.structure_dropout == 0.3
    more = twin(kg, 2)
    found = [predict(m, more, head='new', rel_type=0).score
             for m in (model, again)]
    assert torch.equal(*found)
    # An extended model lacks rows, so that its folder could not be loaded.
    with pytest.raises(ModelError, match='nodes of its training .*1 nodes'):
        model.extend(more).save_pretrained(tmp_path / 'extended')
    assert not (tmp_path / 'extended').exists()


def test_without_a_structural_embedding() -> None:
    model, kg = trained(structure=False, drop_unseen=False)
    node = int((kg.mask_visual & kg.mask_text).nonzero()[0])
    more = twin(kg, node)
    found = most_similar(model, more, 'new', k=1)
    assert found.node.item() == node
    # A missing row is the mean of the rows that are there.
    more = kg.add_nodes('new', {'text': {'new': kg.x_text[node].clone()}})
    view = model.extend(more).embed(torch.tensor([30]))['visual']
    mean = kg.x_visual[kg.mask_visual].mean(dim=0)
    torch.testing.assert_close(view[0], model.encoders['visual'].lin(mean))


def test_path_models_take_them() -> None:
    kg = graph()
    model = NBFNet.from_data(kg, hidden_channels=4)
    more = kg.add_nodes('new', triples=[('new', 0, 4)])
    found = predict(model, more, head='new', rel_type=1, k=30)
    assert found.answer.unique().numel() == 30


@pytest.mark.parametrize('build', [
    lambda kg: AdaMF.from_data(kg, hidden_channels=4),
    lambda kg: RotatE.from_data(kg, hidden_channels=4),
    lambda kg: PyGTransE(kg.num_nodes, kg.num_relations, 4)])
def test_models_that_cannot(build: Any) -> None:
    kg = graph()
    model, more = build(kg), twin(kg, 2)
    for ask in (lambda: predict(model, more, head='new', rel_type=0),
                lambda: evaluate(model, more),
                lambda: most_similar(model, more, 'new'),
                lambda: explain(model, more, 'new', 0, 1)):
        with pytest.raises(ModelError, match=(
                'to have the 31 nodes .*got 30.*AdaMF, AdaMFMAT and NativE '
                'with drop_unseen=True.*NeighborBaseline')):
            ask()


def test_graphs_that_do_not_fit() -> None:
    model, kg = trained()
    with pytest.raises(ModelError, match="got none for 'new'"):
        predict(model, kg.add_nodes('new'), head='new', rel_type=0)
    more = twin(kg, 2)
    more.node_names = ['new', *more.node_names[:-1]]
    with pytest.raises(ModelError, match='followed by new .*other labels'):
        predict(model, more, head='new', rel_type=0)
    model.node_names = None
    with pytest.raises(ModelError, match='followed by new .*no labels'):
        predict(model, twin(kg, 2), head='new', rel_type=0)
    model, kg = trained()
    more = twin(kg, 2)
    del more.x_text, more.mask_text
    with pytest.raises(ModelError, match=r"modalities \['visual', 'text'\]"):
        predict(model, more, head='new', rel_type=0)
    model = AdaMF.from_data(kg, hidden_channels=4, drop_unseen=True)
    with pytest.raises(ModelError, match="before 'prepare' was called"):
        predict(model, twin(kg, 2), head='new', rel_type=0)
