"""Graphs from triples in memory."""

import datetime

import numpy as np
import pandas
import pytest
import torch

from pyg_mmkgc.data import KnowledgeGraph
from pyg_mmkgc.errors import DataError

ROWS = [('a', 'p', 'b'), ('b', 'q', 'c'), ('c', 'p', 'a')]


def labels(kg: KnowledgeGraph) -> list[tuple[str, str, str]]:
    return [(kg.node_names[h], kg.relation_names[r], kg.node_names[t])
            for h, r, t in zip(kg.edge_index[0].tolist(),
                               kg.edge_type.tolist(),
                               kg.edge_index[1].tolist(), strict=True)]


def test_rows_and_tables() -> None:
    frame = pandas.DataFrame(ROWS, columns=['head', 'relation', 'tail'])
    other = frame.rename(columns={'head': 's', 'relation': 'p', 'tail': 'o'})
    other = other[['o', 's', 'p']].assign(weight=1.0)
    for given, kwargs in (
            (ROWS, {}), (iter(ROWS), {}), (np.array(ROWS), {}), (frame, {}),
            ({key: list(frame[key]) for key in frame}, {}),
            (other, {'columns': ['s', 'p', 'o']}),
            (frame.to_dict('records'), {}),
            (other.to_dict('records'), {'columns': ['s', 'p', 'o']})):
        kg = KnowledgeGraph.from_triples(given, **kwargs)
        assert labels(kg) == ROWS and list(kg.splits()) == ['train']
        assert kg.node_names == ['a', 'b', 'c'] and 'node_ids' not in kg


def test_splits() -> None:
    kg = KnowledgeGraph.from_triples(ROWS[:1], ROWS[1:2], test=ROWS[2:])
    assert [labels(kg.split(name)) for name in ('train', 'val', 'test')] == [
        [row] for row in ROWS]
    rows = [(i, 'r', i + 1) for i in range(50)]
    kg = KnowledgeGraph.from_triples(rows, val_ratio=0.1, test_ratio=0.2)
    assert [kg.split(name).num_edges for name in (
        'train', 'val', 'test')] == [35, 5, 10]
    with pytest.warns(UserWarning, match="'train' .got 1 repetitions"):
        kg = KnowledgeGraph.from_triples([*ROWS, ROWS[0]], test_ratio=0.3)
    assert kg.num_edges == 3
    with pytest.raises(DataError, match="triple 1 of 'test' and triple 2 of "
                                        "'train'"):
        KnowledgeGraph.from_triples(ROWS, test=ROWS[1:2])
    kg = KnowledgeGraph.from_triples(ROWS, test=ROWS[1:2], allow_overlap=True)
    assert kg.split('test').num_edges == 1


def test_labels_of_any_kind() -> None:
    day = datetime.date(2024, 2, 29)
    rows = [('"Quoted" City', 1, day), ('tab\there', 1, ('x', 2)),
            ('Zürich 北京', np.int64(1), '"Quoted" City')]
    kg = KnowledgeGraph.from_triples(rows)
    assert labels(kg) == [('"Quoted" City', '1', '2024-02-29'),
                          ('tab\there', '1', "('x', 2)"),
                          ('Zürich 北京', '1', '"Quoted" City')]
    rows = torch.tensor([[5, 0, 7], [7, 0, 5]])
    table = dict(zip(('head', 'relation', 'tail'), rows.t(), strict=True))
    for same in (rows, list(rows), table):
        kg = KnowledgeGraph.from_triples(same)
        assert kg.node_names == ['5', '7'] and kg.relation_names == ['0']


def test_features() -> None:
    table = pandas.DataFrame([[1, 2], [3, 4]], index=['c', 'a'])
    kg = KnowledgeGraph.from_triples(ROWS, features={
        'numbers': table, 'text': {'b': np.ones(3)}})
    assert kg.x_numbers.tolist() == [[3, 4], [0, 0], [1, 2]]
    assert kg.mask_numbers.tolist() == [True, False, True]
    assert kg.mask_text.tolist() == [False, True, False]
    kg = KnowledgeGraph.from_triples([(1, 'r', 2)], features={
        'text': {2: torch.ones(3)}})
    assert kg.mask_text.tolist() == [False, True]


def test_identifiers_and_labels() -> None:
    names = {'Q1': 'Paris', 'Q2': 'France', 'Q3': 'Paris'}
    rows = [('Q1', 'in', 'France'), ('Q3', 'in', 'Texas')]
    kg = KnowledgeGraph.from_triples(rows, node_names=names, features={
        'text': {'Q3': [1.0], 'France': [2.0]}})
    assert kg.node_ids == ['Q1', 'Q2', 'Q3', 'Texas']
    assert kg.node_names == ['Paris', 'France', 'Paris', 'Texas']
    assert kg.x_text.flatten().tolist() == [0, 2, 1, 0]
    with pytest.raises(DataError, match=r"'Paris', the label of \['Q1', 'Q3'"):
        KnowledgeGraph.from_triples([('Paris', 'in', 'Q2')], node_names=names)
    with pytest.raises(DataError, match="'node_names' to be a dict .got list"):
        KnowledgeGraph.from_triples(rows, node_names=['Paris'])


@pytest.mark.parametrize('given, message', [
    ('a\tp\tb', "'train' .got text.*from_tsv"),
    (5, "rows or a table as 'train' .got int"),
    ([], "triples in 'train' .got none"),
    ([('a', 'p', 'b'), ('a', 'p')], "row 1 of 'train' .got .'a', 'p'"),
    (['apb'], "row 0 of 'train' .got 'apb'"),
    ([('a', 'p', None)], "a label in row 0 of 'train' .got None"),
    ([('a', 'p', float('nan'))], "row 0 of 'train' .got nan"),
    ([('a', '', 'b')], "a label in row 0 of 'train' .got ''"),
    ([(1, 'p', 'b'), ('1', 'p', 'b')], "row 1 of 'train' .got '1' after 1"),
    ([{'a', 'p', 'b'}], r"row 0 of 'train' .got \{'"),
    ([('a', 'p', 'b'), {'head': 'a', 'rel': 'p', 'tail': 'b'}],
     r"keys \['head', 'relation', 'tail'\] in row 1 of 'train' .got "
     r"\['head', 'rel', 'tail'\].. Pass"),
    ({'head': ['a'], 'relation': ['r', 's'], 'tail': ['b']},
     r"one length in 'train' .got \[1, 2, 1\] for \['head', 'rel"),
    ({'head': 'abc', 'relation': 'rst', 'tail': 'def'},
     "labels in the column 'head' of 'train' .got 'abc'"),
    ({'head': ['a'], 'relation': 5, 'tail': ['b']},
     "labels in the column 'relation' of 'train' .got 5"),
    (pandas.DataFrame({'head': ['a'], 'tail': ['b']}),
     r"columns \['head', 'relation', 'tail'\] in 'train' .got \['head', 'ta"),
    (pandas.DataFrame({'head': ['a'], 'relation': [pandas.NA],
                       'tail': ['b']}), "row 0 of 'train' .got <NA>"),
])
def test_bad_triples(given: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        KnowledgeGraph.from_triples(given)


@pytest.mark.parametrize('kwargs, message', [
    ({'columns': 'hrt'}, "'columns' to name .* .got 'hrt'"),
    ({'columns': ['h', 't']}, "'columns' to name"),
    ({'features': {'text': pandas.DataFrame({'x': ['one']}, index=['a'])}},
     "numbers in the table of modality 'text'"),
    ({'features': {'text': pandas.DataFrame([[1.0], [2.0]],
                                            index=['a', 'a'])}},
     "one row per label .* 'text' .got 2 rows for 1 labels"),
    ({'test_ratio': 1.0}, "'test_ratio' to lie in"),
    ({'test_ratio': 0.5, 'val': ROWS}, 'either files or ratios'),
])
def test_bad_arguments(kwargs: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        KnowledgeGraph.from_triples(ROWS, **kwargs)
