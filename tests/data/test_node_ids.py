"""Nodes with an identifier and a label."""

from pathlib import Path

import pytest
import torch

from pyg_mmkgc import AdaMF, KnowledgeGraph, predict
from pyg_mmkgc.data import renumber
from pyg_mmkgc.data.alignment import align_features
from pyg_mmkgc.errors import DataError, ModelError
from pyg_mmkgc.evaluation import score

NAMES = ['Paris', 'France', 'Paris', 'Texas']
IDS = ['Q90', 'Q142', 'Q830149', 'Q1439']


def make(**kwargs) -> KnowledgeGraph:
    return KnowledgeGraph(**{
        'edge_index': torch.tensor([[0, 2], [1, 3]]),
        'edge_type': torch.tensor([0, 0]), 'num_nodes': 4,
        'node_names': NAMES, 'node_ids': IDS, 'relation_names': ['in'],
        **kwargs})


def test_labels_may_repeat_where_identifiers_do_not() -> None:
    assert make().validate()
    with pytest.raises(DataError, match="unique names in 'node_ids' .*'Q90'"):
        make(node_ids=['Q90', 'Q142', 'Q90', 'Q1439']).validate()
    with pytest.raises(DataError, match="unique names in 'node_names'"):
        make(node_ids=None).validate()
    with pytest.raises(DataError, match="'node_ids' to hold 4 names .got 3"):
        make(node_ids=IDS[:3]).validate()


def test_queries_match_either() -> None:
    kg = make(x_text=torch.randn(4, 3))
    model = AdaMF.from_data(kg, hidden_channels=4)
    found = [predict(model, kg, head=head, rel_type='in').score
             for head in (3, 'Texas', 'Q1439')]
    assert torch.equal(found[0], found[1]) and torch.equal(*found[1:])
    wanted = model(*torch.tensor([[2], [0], [3]])).item()
    assert score(model, kg, [('Q830149', 'in', 'Texas')]).item() == (
        pytest.approx(wanted))
    with pytest.raises(DataError, match="single node .got 'Paris', which 2"):
        predict(model, kg, head='Paris', rel_type='in')
    with pytest.raises(DataError, match="got 'Q1'.*nearest"):
        predict(model, kg, head='Q1', rel_type='in')


def test_an_identifier_comes_before_a_label() -> None:
    kg = make(node_names=['Q142', 'b', 'c', 'd'])  # Also node 1's identifier.
    model = AdaMF.from_data(kg, hidden_channels=4)
    assert predict(model, kg, head='Q142', rel_type='in').head.tolist() == [1]


def test_features_match_either() -> None:
    row = torch.arange(2.0)
    x, mask = align_features('text', {'Q90': row + 1, 'Texas': row + 2},
                             NAMES, IDS)
    assert x.tolist() == [[1, 2], [0, 0], [0, 0], [2, 3]]
    assert mask.tolist() == [True, False, False, True]
    with pytest.warns(UserWarning, match="labels that are not: 'Paris'"):
        align_features('text', {'Q90': row, 'Paris': row}, NAMES, IDS)
    with pytest.raises(DataError, match="'Texas' and 'Q1439'.* of one node"):
        align_features('text', {'Texas': row, 'Q1439': row}, NAMES, IDS)
    with pytest.raises(DataError, match="'Paris', .* identifiers such as "):
        align_features('text', {'Rome': row}, NAMES, IDS)


def test_saved_and_split(tmp_path: Path) -> None:
    kg = make(x_text=torch.randn(4, 3))
    kg.save(tmp_path / 'kg.safetensors')
    assert KnowledgeGraph.load(tmp_path / 'kg.safetensors').node_ids == IDS
    assert kg.subgraph(torch.tensor([0, 3])).node_ids == ['Q90', 'Q1439']
    assert kg.split('train').node_ids == IDS
    assert KnowledgeGraph.from_pyg(kg).node_ids == IDS

    model = AdaMF.from_data(kg, hidden_channels=4)
    model.save_pretrained(tmp_path / 'model')
    again = AdaMF.from_pretrained(tmp_path / 'model')
    assert (again.node_names, again.node_ids) == (NAMES, IDS)
    found = predict(again, head='Q830149', rel_type='in', k=3)
    assert found.head.tolist() == [2]  # Without the graph.


def test_renumber_by_identifiers() -> None:
    kg, order = make(), torch.tensor([2, 0, 3, 1])
    names, ids = [NAMES[i] for i in order], [IDS[i] for i in order]
    out = renumber(kg, names, ['in'], ids)
    assert out.edge_index.tolist() == [[1, 0], [3, 2]]
    assert (out.node_names, out.node_ids) == (names, ids)

    with pytest.raises(DataError, match="unique 'node_names' in the graph "
                       ".got 'Paris' more than once.. Pass 'node_ids'"):
        renumber(kg, names, ['in'])  # By labels alone.
    with pytest.raises(DataError, match="unique 'node_names' as an argument "
                       ".got 'x' more"):
        renumber(make(node_names=list('abcd'), node_ids=None),
                 list('xxabcd'), ['in'], list('uvabcd'))
    with pytest.raises(DataError, match="'node_ids' as an .*got 'Q90' more "
                       'than once..$'):
        renumber(kg, names, ['in'], [*ids, 'Q90'])

    model = AdaMF.from_data(out, hidden_channels=4)
    assert predict(model, out, head='Q90', rel_type='in').head.tolist() == [1]
    kg.node_names, kg.node_ids = list('abcd'), list('wxyz')
    out = renumber(kg, list('badce'), ['in'])  # By labels alone.
    assert out.node_ids == ['x', 'w', 'z', 'y', 'e']
    model = AdaMF.from_data(kg, hidden_channels=4)
    with pytest.raises(ModelError, match="'b' to be node 1 .*got node 0"):
        predict(model, out.subgraph(torch.arange(4)), head=0, rel_type=0)
