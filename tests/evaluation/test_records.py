"""Files of queries and of their answers."""

import csv
import json
from pathlib import Path

import pytest
import torch

from pyg_mmkgc import nn
from pyg_mmkgc.data import KnowledgeGraph
from pyg_mmkgc.errors import ConfigError, DataError, FormatError, MMKGCError
from pyg_mmkgc.evaluation import (
    predict,
    predict_records,
    read_queries,
    write_records,
)

QUERIES = [('a', 'r', None), (None, 's', 'b'), ('b', None, 'c'),
           ('c', 's', None)]


@pytest.fixture
def kg() -> KnowledgeGraph:
    return KnowledgeGraph(
        edge_index=torch.tensor([[0, 1], [1, 2]]),
        edge_type=torch.tensor([0, 1]), num_nodes=4, num_relations=2,
        node_names=['a', 'b', 'c', '"d"\t'], relation_names=['r', 's'])


@pytest.fixture
def model() -> nn.DistMult:
    torch.manual_seed(0)
    return nn.DistMult(4, 2, 3)


def test_queries_are_read(tmp_path: Path) -> None:
    path = tmp_path / 'queries.tsv'
    path.write_text('a\tr\t?\n?\tr\t b\nwho?\t?\tb\n')
    assert read_queries(path) == [('a', 'r', None), (None, 'r', ' b'),
                                  ('who?', None, 'b')]
    for line in ('a\tr', 'a\tr\tb', '?\t?\tb', 'a r ?', 'a\tr\t?\tx',
                 '\tr\t?'):
        path.write_text(f'a\tr\t?\n{line}\n')
        with pytest.raises(FormatError, match=r"'\?', in row 2 of .*queries"):
            read_queries(path)


@pytest.mark.parametrize('filter_known', [False, True])
def test_answers_are_those_of_predict(kg, model, filter_known) -> None:
    found = predict_records(model, kg, QUERIES, 2, filter_known)
    rows = [dict(zip(found, row, strict=True))
            for row in zip(*found.values(), strict=True)]
    expected = []
    for i, (head, rel, tail) in enumerate(QUERIES, 1):
        alone = predict(model, kg, head, rel, tail, 2, filter_known)
        expected += [{'query': i, **dict(zip(
            alone.table().columns, row, strict=True))}
            for row in alone.table().rows]
    assert rows == expected and len(rows) == (7 if filter_known else 8)


def test_ids_and_no_graph(kg, model) -> None:
    ids = [(0, 0, None), (None, 1, 1), (1, None, 2), (2, 1, None)]
    assert predict_records(model, kg, ids) == predict_records(model, kg,
                                                              QUERIES)
    found = predict_records(model, None, ids)
    assert 'known' not in found and found['head'][0] == '0'
    assert predict_records(model, kg, []) == {
        name: [] for name in ('query', 'head', 'relation', 'tail', 'rank',
                              'score')}
    with pytest.raises(DataError, match=r"query 2 \(got \('a', 'r', 'b'\)"):
        predict_records(model, kg, [QUERIES[0], ('a', 'r', 'b')])
    with pytest.raises(DataError, match="got 'x'"):
        predict_records(model, kg, [('x', 'r', None)])


def test_three_kinds_of_files(kg, model, tmp_path: Path) -> None:
    found = predict_records(model, kg, QUERIES, k=3)
    assert any('"d"\t' in row for row in (found['head'], found['tail']))
    write_records(tmp_path / 'a.tsv', found)
    with open(tmp_path / 'a.tsv', newline='') as file:
        head, *rows = csv.reader(file, delimiter='\t')
    assert head == list(found)
    assert [row[3] for row in rows] == found['tail']
    assert [float(row[5]) for row in rows] == found['score']
    assert {row[6] for row in rows} == {'true', 'false'}
    write_records(tmp_path / 'a.jsonl', found)
    lines = [json.loads(line) for line in
             (tmp_path / 'a.jsonl').read_text().splitlines()]
    assert {name: [line[name] for line in lines] for name in found} == found
    parquet = pytest.importorskip('pyarrow.parquet')
    write_records(tmp_path / 'a.parquet', found)
    assert parquet.read_table(tmp_path / 'a.parquet').to_pydict() == found


def test_files_that_cannot_be_written(tmp_path: Path, monkeypatch) -> None:
    with pytest.raises(ConfigError, match="'.tsv', '.jsonl', '.parquet'"):
        write_records(tmp_path / 'a.csv', {'x': [1]})
    monkeypatch.setitem(__import__('sys').modules, 'pyarrow', None)
    with pytest.raises(MMKGCError, match="'pyarrow'.*other endings"):
        write_records(tmp_path / 'a.parquet', {'x': [1]})
    assert list(tmp_path.iterdir()) == []
