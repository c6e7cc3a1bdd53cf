"""Graphs with further nodes."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from pyg_mmkgc import KnowledgeGraph
from pyg_mmkgc.errors import DataError


def make(**kwargs) -> KnowledgeGraph:
    return KnowledgeGraph(**{
        'edge_index': torch.tensor([[0, 1, 0], [1, 2, 2]]),
        'edge_type': torch.tensor([0, 1, 1]), 'num_nodes': 3,
        'node_names': ['a', 'b', 'c'], 'relation_names': ['r', 's'],
        'x_text': torch.arange(6.0).view(3, 2),
        'x_visual': torch.ones(3, 4, dtype=torch.half),
        'mask_visual': torch.tensor([True, False, True]), **kwargs})


def test_features_and_masks() -> None:
    kg = make()
    out = kg.add_nodes(['d', 'e'], {'text': {'e': torch.tensor([7., 8.])},
                                    'visual': 2 * torch.ones(2, 4)})
    assert (out.num_nodes, out.node_names) == (5, list('abcde'))
    assert out.x_text.tolist() == [[0, 1], [2, 3], [4, 5], [0, 0], [7, 8]]
    assert out.mask_text.tolist() == [True, True, True, False, True]
    assert out.mask_visual.tolist() == [True, False, True, True, True]
    assert out.x_visual.dtype == torch.half and out.x_visual[3, 0] == 2
    assert out.num_edges == 3 and kg.num_nodes == 3 and 'mask_text' not in kg
    assert kg.x_text.size(0) == 3 and kg.node_names == ['a', 'b', 'c']


def test_several_instances() -> None:
    kg = make(x_visual=torch.ones(3, 2, 4), mask_visual=None)
    out = kg.add_nodes('d', {'visual': {'d': torch.zeros(4) + 3}})
    assert out.mask_visual[3].tolist() == [True, False]
    assert out.x_visual[3].tolist() == [[3] * 4, [0] * 4]


def test_triples_and_splits() -> None:
    kg = make(train_mask=torch.tensor([True, True, False]),
              test_mask=torch.tensor([False, False, True]))
    out = kg.add_nodes('d', triples=[('d', 's', 'a'), (1, 0, 'd')])
    assert out.edge_index[:, 3:].tolist() == [[3, 1], [0, 3]]
    assert out.edge_type[3:].tolist() == [1, 0]
    assert out.train_mask.tolist() == [True, True, False, True, True]
    assert out.test_mask.tolist() == [False, False, True, False, False]
    out = make().add_nodes('d', triples=[('d', 's', 'a')], split='test')
    assert out.split('train').num_edges == 3
    assert out.split('test').edge_index.tolist() == [[3], [0]]
    # Without splits, all triples are training triples.
    assert make().add_nodes('d', triples=[('d', 's', 'a')]).split(
        'train').num_edges == 4


@pytest.mark.parametrize('kind', [list, torch.tensor, np.array])
def test_triples_of_ids(kind: Callable[[list], Any]) -> None:
    out = make().add_nodes('d', triples=kind([[3, 1, 0], [1, 0, 3]]))
    assert out.edge_index[:, 3:].tolist() == [[3, 1], [0, 3]]
    assert out.edge_type[3:].tolist() == [1, 0]


def test_identifiers() -> None:
    kg = make(node_ids=['Q1', 'Q2', 'Q3'], node_names=['x', 'x', 'y'])
    out = kg.add_nodes('x', {'text': {'Q4': torch.ones(2)}}, node_ids=['Q4'],
                       triples=[('Q4', 'r', 'y')])
    assert out.node_ids == ['Q1', 'Q2', 'Q3', 'Q4']
    assert out.node_names == ['x', 'x', 'y', 'x'] and out.x_text[3, 0] == 1
    assert kg.add_nodes('z').node_ids == ['Q1', 'Q2', 'Q3', 'z']
    with pytest.raises(DataError, match="got 'Q2', which is in the graph"):
        kg.add_nodes('z', node_ids=['Q2'])


@pytest.mark.parametrize('arguments, message', [
    ((['b'], ), "new nodes .got 'b', which is in the graph"),
    ((['d', 'd'], ), "got 'd', which is in the graph or given twice"),
    (([], ), 'at least one label .got none'),
    (([' '], ), "'names' to hold labels .got ' '"),
    (('d', {'audio': {}}), r"\['text', 'visual'\] .got \['audio'\]"),
    (('d', 'text.npz'), "'features' to be a dict of modalities .got str"),
    (('d', {'text': {'d': torch.ones(3)}}), r'shape \[1, 2\].*\[1, 3\]'),
    (('d', {'text': torch.ones(2, 2)}), r'1 rows in .*shape \[2, 2\]'),
    (('d', {'text': {'c': torch.ones(2)}}), 'got 1 labels, none of which'),
    (('d', {'text': {'d': torch.tensor([1, torch.nan])}}), 'got NaN in row 3'),
    (('d', None, [('d', 'q', 'a')]), "a relation .* row 0 .*got 'q'"),
    (('d', None, [('d', 'r', 'z')]), "a node .* row 0 .*got 'z'"),
    (('d', None, [(4, 'r', 'a')]), 'a node .* row 0 .*got 4'),
    (('d', None, [(1.7, 0, 'd')]), 'a node .* row 0 .*got 1.7'),
    (('d', None, [(1, 0, 'd'), (None, 0, 'd')]), 'node .* row 1 .*got None'),
    (('d', None, [('d', 0.0, 'a')]), 'a relation .* row 0 .*got 0.0'),
    (('d', None, [3]), 'row 0 of the triples .got 3'),
    (('d', None, torch.tensor([3, 0, 1])), 'row 0 of the triples .got tens'),
    (('d', None, [{0, 1, 2}]), r'row 0 of the triples .got \{0, 1, 2'),
    (('d', None, 3), "'triples' to hold rows .*got 3"),
    (('d', None, ['dra']), "row 0 of the triples .got 'dra'"),
    (('d', None, [('d', 'r', 'a')], 'dev'), "'split' to be one of .*'dev'"),
])
def test_bad_input(arguments: tuple, message: str) -> None:
    kg = make()
    with pytest.raises(DataError, match=message):
        kg.add_nodes(*arguments)
    assert kg.num_nodes == 3 and kg.num_edges == 3


def test_graphs_without_labels() -> None:
    with pytest.raises(DataError, match="with 'node_names'.*got none"):
        make(node_names=None).add_nodes('d')
