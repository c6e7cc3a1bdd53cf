from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from pyg_mmkgc.data import KnowledgeGraph
from pyg_mmkgc.errors import DataError

NONE, ALL = torch.zeros(4).bool(), torch.ones(4).bool()


def x(row: int | None = None, value: float = 0.0) -> torch.Tensor:
    out = torch.arange(1., 11.).view(5, 2)
    if row is not None:
        out[row, 1] = value
    return out


def make_kg(**kwargs: Any) -> KnowledgeGraph:
    """Returns a graph whose attributes bypass the constructor."""
    kg = KnowledgeGraph(
        edge_index=torch.tensor([[0, 1, 2, 3], [1, 2, 3, 0]]),
        edge_type=torch.tensor([0, 1, 0, 1]),
        num_nodes=5,
        num_relations=2,
        train_mask=torch.tensor([1, 1, 0, 0]).bool(),
        test_mask=torch.tensor([0, 0, 1, 1]).bool(),
        node_names=list('abcde'),
        relation_names=['p', 'q'],
    )
    for key, value in kwargs.items():
        kg[key] = value
    return kg


BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    'x': (dict(x=torch.ones(5, 2)), "as 'x_visual' .got 'x', which models ig"),
    'no edges attribute': (dict(edge_index=None), "Expected 'edge_index' and"),
    'no types attribute': (dict(edge_type=None), "Expected 'edge_index' and"),
    'num_nodes': (dict(num_nodes=0),
                  "'num_nodes' to be a positive integer .got 0"),
    'num_nodes float': (dict(num_nodes=5.0), 'positive integer .got 5.0'),
    'num_relations': (dict(num_relations=-1),
                      "'num_relations' to be a .* .got -1"),
    'negative id': (dict(edge_index=torch.tensor([[0, 1, 2, -1],
                                                  [1, 2, 3, 0]])),
                    "'edge_index' to hold ids from 0 to 4, since num_nodes=5 "
                    '.got -1 at triple 3'),
    'id = N': (dict(edge_index=torch.tensor([[0, 1, 2, 3], [1, 5, 3, 0]])),
               'got 5 at triple 1, and 1 invalid ids'),
    'id > int32': (dict(edge_index=torch.tensor([[0, 1, 2, 3],
                                                 [1, 2**31 + 3, 3, 0]])),
                   'got 2147483651 at triple 1'),
    'float id': (dict(edge_index=torch.zeros(2, 4)),
                 'int64 with shape .2, num_edges. .got dtype torch.float32'),
    'int32 id': (dict(edge_type=torch.zeros(4, dtype=torch.int)), 'int64'),
    'relation = R': (dict(edge_type=torch.tensor([0, 2, 0, 1])),
                     "'edge_type' to hold ids from 0 to 1, since num_rel"),
    'transposed': (dict(edge_index=torch.zeros(4, 2, dtype=torch.long)),
                   r'got shape \[4, 2\]'),
    '1-D edge_index': (dict(edge_index=torch.zeros(4, dtype=torch.long)),
                       r'got shape \[4\]'),
    'edge_index as list': (dict(edge_index=[[0], [1]]), 'got list'),
    'lengths differ': (dict(edge_type=torch.tensor([0, 1, 0])),
                       "'edge_type' to have 4 triples, .* .got 3"),
    'no triples': (dict(edge_index=torch.empty(2, 0, dtype=torch.long),
                        edge_type=torch.empty(0, dtype=torch.long),
                        train_mask=None, test_mask=None),
                   'graph with triples .got none'),
    'filter id': (dict(filter_edge_index=torch.tensor([[0], [9]]),
                       filter_edge_type=torch.tensor([0])),
                  "'filter_edge_index' to hold ids from 0 to 4"),
    'half a filter': (dict(filter_edge_index=torch.tensor([[0], [1]])),
                      "'filter_edge_type' to be a tensor .* .got NoneType"),
    'edge mask length': (dict(train_mask=torch.ones(3).bool()),
                         'each of the 4 triples .got shape .3.'),
    'edge mask dtype': (dict(val_mask=torch.ones(4)), "'val_mask' to be a "
                        'bool'),
    'empty split': (dict(val_mask=NONE), "split of 'val_mask' .got none"),
    'split overlap': (dict(test_mask=ALL), 'at most one split .got triple 0 '),
    'few node names': (dict(node_names=list('abcd')), '5 names .got 4'),
    'duplicate node name': (dict(node_names=list('abcda')),
                            "got 'a' at rows 0 and 4"),
    'names of int': (dict(node_names=list(range(5))), 'a list of str'),
    'relation names': (dict(relation_names=['p']), '2 names .got 1'),
    'N-1 rows': (dict(x_v=torch.ones(4, 2)), "'v' to have 5 rows .got 4"),
    'N+1 rows': (dict(x_v=torch.ones(6, 2)), "'v' to have 5 rows .got 6"),
    '1-D features': (dict(x_v=torch.ones(5)), r'float32 \[5\]'),
    'no channels': (dict(x_v=torch.ones(5, 0)), r'float32 \[5, 0\]'),
    'int features': (dict(x_v=torch.ones(5, 2).long()), r'int64 \[5, 2\]'),
    'sparse features': (dict(x_v=torch.ones(5, 2).to_sparse()), 'sparse_coo'),
    'list features': (dict(x_v=[[1.0]]), 'got list'),
    'NaN row': (dict(x_v=x(3, float('nan'))),
                "'v' to be finite .got NaN in row 3 .'d'., and 1 such rows"),
    'Inf value': (dict(x_v=x(0, -float('inf'))),
                  "got infinity in row 0 .'a'."),
    'constant zero': (dict(x_v=torch.zeros(5, 2)),
                      "'v' to be nonzero.*got only zeros"),
    'zero where present': (dict(
        x_v=torch.tensor([[0.], [1], [1], [1], [1]]),
        mask_v=torch.tensor([1, 0, 0, 0, 0]).bool()),
        "'v' to be nonzero.*got only zeros"),
    'mask length': (dict(x_v=x(), mask_v=torch.ones(4).bool()),
                    "'mask_v' to be a bool tensor with one entry for each "
                    'of the 5 nodes .got shape .4.'),
    'mask dtype': (dict(x_v=x(), mask_v=torch.ones(5)), 'dtype torch.float32'),
    'mask all false': (dict(x_v=x(), mask_v=torch.zeros(5).bool()),
                       "'mask_v' to select rows of modality 'v' .got none"),
    'mask alone': (dict(mask_v=torch.ones(5).bool()),
                   "'mask_v' to belong to a modality"),
    'no instances': (dict(x_v=torch.ones(5, 0, 2)), r'float32 \[5, 0, 2\]'),
    '4-D features': (dict(x_v=torch.ones(5, 1, 1, 2)), 'nodes with several'),
    'NaN instance': (dict(x_v=torch.stack([x(), x(3, float('nan'))], 1)),
                     "NaN in row 3 .'d'., and 1 such rows"),
    'mask of other instances': (dict(
        x_v=torch.ones(5, 3, 2), mask_v=torch.ones(5, 2).bool()),
        r'of the 5 nodes .got shape \[5, 2\]'),
    'mask of instances of one': (dict(
        x_v=x(), mask_v=torch.ones(5, 2).bool()), r'got shape \[5, 2\]'),
    'name with a dot': ({'x_v.2': x()}, "without a dot .got 'v.2'"),
    'empty name': ({'x_': x()}, "to have a name .* .got ''"),
    'reserved name': (dict(x_structure=x()), '.got .structure'),
}  # yapf: disable


@pytest.mark.parametrize('key, value, message', [
    ('x_v', np.ones((2, 3)), "'x_v' of modality 'v' .*got ndarray"),
    ('x_v', torch.tensor(1.0), r"'x_v' of modality 'v' .*float32 \[\]"),
    ('edge_index', np.array([[0], [1]]), r'shape \[2, num_edges\] .got nda'),
    ('edge_index', [[0], [1]], r'shape \[2, num_edges\] .got list'),
    ('filter_edge_index', [[0], [1]], "'filter_edge_index' .*got list"),
    ('edge_type', [0], r'int64 with shape \[num_edges\] .got list')])
def test_sizes_are_inferred_from_tensors(key: str, value: Any,
                                         message: str) -> None:
    attributes = {'edge_index': torch.tensor([[0], [1]]),
                  'edge_type': torch.tensor([0]), key: value}
    with pytest.raises(DataError, match=message):
        KnowledgeGraph(**attributes)
    with pytest.raises(DataError, match=message):
        KnowledgeGraph(num_nodes=2, num_relations=1, **{
            'filter_edge_type': torch.tensor([0]), 'filter_edge_index':
            torch.tensor([[0], [1]]), **attributes}).validate()


@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('name', BROKEN)
def test_validate_rejects(name: str) -> None:
    attributes, message = BROKEN[name]
    with pytest.raises(DataError, match=message):
        make_kg(**attributes).validate()
    with pytest.warns(UserWarning, match=message):
        assert not make_kg(**attributes).validate(raise_on_error=False)


@pytest.mark.parametrize('attributes', [
    {},
    dict(x_v=torch.ones(5, 2, dtype=torch.double)),
    dict(x_v=torch.ones(5, 2, dtype=torch.half)),
    # Finite, although the sum of a row is not.
    dict(x_v=torch.full((5, 2), 3e38)),
    dict(x_v=x(), mask_v=torch.tensor([0, 0, 1, 0, 0]).bool()),
    dict(train_mask=None, test_mask=None),
    dict(node_names=None, relation_names=None),
    {'x_with space': x()},
    # Several images per node.
    dict(x_v=torch.ones(5, 3, 2)),
    dict(x_v=torch.ones(5, 3, 2), mask_v=torch.tensor([0, 0, 1, 0, 0]) > 0),
    dict(x_v=torch.ones(5, 3, 2), mask_v=torch.eye(5, 3) > 0),
], ids=str)
def test_validate_accepts(attributes: dict[str, Any]) -> None:
    assert make_kg(**attributes).validate()


def test_features_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('pyg_mmkgc.data.validation.ROWS', 2)
    assert make_kg(x_visual=x()).validate()
    with pytest.raises(DataError, match='got NaN in row 3 .*1 such rows'):
        make_kg(x_visual=x(3, float('nan'))).validate()
    last = torch.arange(5) == 4
    zeros = x() * ~last.unsqueeze(-1)
    assert make_kg(x_visual=zeros, mask_visual=~last).validate()
    with pytest.raises(DataError, match='got only zeros'):
        make_kg(x_visual=zeros, mask_visual=last).validate()
