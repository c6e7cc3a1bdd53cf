"""Graphs with the same labels that are numbered differently."""

from pathlib import Path

import pytest
import torch

from pyg_mmkgc import AdaMF, Trainer, evaluate, predict
from pyg_mmkgc.data import KnowledgeGraph, renumber
from pyg_mmkgc.errors import DataError, ModelError

LINES = ['a\tr\tb', 'b\tr\tc', 'c\ts\td', 'd\tr\ta']


def read(tmp_path: Path, lines: list[str], **kwargs) -> KnowledgeGraph:
    path = tmp_path / 'triples.tsv'
    path.write_text('\n'.join(lines))
    return KnowledgeGraph.from_tsv(path, **kwargs)


def triples(kg: KnowledgeGraph) -> set[tuple[str, str, str]]:
    return {(kg.node_names[h], kg.relation_names[r], kg.node_names[t])
            for (h, t), r in zip(kg.edge_index.t().tolist(),
                                 kg.edge_type.tolist(), strict=True)}


def test_renumber(tmp_path: Path) -> None:
    features = {'text': {name: torch.full((2, ), float(ord(name)))
                         for name in 'abd'}}
    kg = read(tmp_path, LINES, features=features)
    with pytest.warns(UserWarning, match="labels that are not: 'b'"):
        other = read(tmp_path, LINES[:1:-1], features=features)
    assert other.node_names == ['d', 'a', 'c'] and kg.node_names[0] == 'a'
    other.filter_edge_index = torch.tensor([[2], [1]])  # c r a
    other.filter_edge_type = torch.tensor([0])
    other.x_raw = torch.arange(3.0).view(3, 1)  # Without a mask.

    out = renumber(other, kg.node_names, kg.relation_names)
    out.validate()
    assert (out.node_names, out.relation_names) == (list('abcd'), ['r', 's'])
    assert triples(out) == triples(other)
    assert out.filter_edge_index.tolist() == [[2], [0]]
    assert torch.equal(out.x_text[[0, 3]], kg.x_text[[0, 3]])
    # Node b is in no remaining triple, so its row is missing.
    assert out.mask_text.tolist() == [True, False, False, True]
    assert out.mask_raw.tolist() == [True, False, True, True]
    assert out.x_raw.flatten().tolist() == [1, 0, 2, 0]
    assert other.node_names == ['d', 'a', 'c']  # Not in place.
    assert renumber(kg, kg.node_names, kg.relation_names) is kg


def test_what_cannot_be_renumbered(tmp_path: Path) -> None:
    kg = read(tmp_path, LINES)
    with pytest.raises(DataError, match="of the 2 given .got 2 .*'c', 'd'"):
        renumber(kg, ['a', 'b'], kg.relation_names)
    with pytest.raises(DataError, match='each relation .* one of the 1 given'):
        renumber(kg, kg.node_names, ['r'])
    with pytest.raises(DataError, match='relations both .*got none as an a'):
        renumber(kg, kg.node_names, None)
    names = kg.node_names
    del kg.node_names
    with pytest.raises(DataError, match='nodes both .*got none in the graph'):
        renumber(kg, names, kg.relation_names)
    kg.n_id = torch.arange(4)
    with pytest.raises(DataError, match='sampled batch'):
        renumber(kg, names, kg.relation_names)


@pytest.mark.parametrize('saved', [True, False])
def test_a_model_refuses_another_numbering(saved, tmp_path: Path) -> None:
    kg = read(tmp_path, LINES)
    model = AdaMF.from_data(kg, hidden_channels=8)
    if saved:
        model.save_pretrained(tmp_path / 'model')
        model = AdaMF.from_pretrained(tmp_path / 'model')
    assert model.node_names == list('abcd')
    first = predict(model, kg, head='b', rel_type='r', k=4).to_dict()
    other = read(tmp_path, LINES[::-1])
    for call in (lambda: predict(model, other, head='b', rel_type='r'),
                 lambda: evaluate(model, other, 'train'),
                 lambda: Trainer(model, other)):
        with pytest.raises(ModelError, match="'d' to be node 3 of the graph"
                                             '.*got node 0'):
            call()
    there = renumber(other, model.node_names, model.relation_names)
    assert predict(model, there, head='b', rel_type='r',
                   k=4).to_dict() == first
    assert evaluate(model, there, 'train').mrr == evaluate(
        model, kg, 'train').mrr

    kg.relation_names = ['s', 'r']
    with pytest.raises(ModelError, match="'s' to be relation 1 of the graph"):
        evaluate(model, kg, 'train')
    # Only one kind of labels may differ.
    kg.node_names, kg.relation_names = list('wxyz'), ['p', 'q']
    for names, kind in ((list('wxyz'), 'node'), (model.node_names,
                                                 'relation')):
        kg.node_names = names
        with pytest.raises(ModelError, match=f"got '[wp]' as {kind} .*does not"
                           f".*model's {kind}_names.$"):
            evaluate(model, kg, 'train')
    kg.relation_names = model.relation_names
    evaluate(model, kg, 'train')
