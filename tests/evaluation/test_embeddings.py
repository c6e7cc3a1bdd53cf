"""Representations of nodes: similarity search and export."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch_geometric.nn.kge as pyg

from pyg_mmkgc import nn
from pyg_mmkgc.data import KnowledgeGraph
from pyg_mmkgc.errors import (
    ConfigError,
    DataError,
    MMKGCError,
    ModelError,
    NonFiniteError,
)
from pyg_mmkgc.evaluation import (
    export_embeddings,
    most_similar,
    node_representations,
)

ANGLES = torch.tensor([0.0, 10.0, 180.0, 30.0, 0.0]).deg2rad()
NAMES = ['a', 'b', 'c\tx', 'd', 'e']


@pytest.fixture
def kg() -> KnowledgeGraph:
    return KnowledgeGraph(edge_index=torch.tensor([[0], [1]]),
                          edge_type=torch.tensor([0]), num_nodes=5,
                          num_relations=1, node_names=NAMES,
                          x_text=torch.randn(5, 3))


@pytest.fixture
def clock() -> nn.DistMult:
    """Nodes on a circle, of different lengths."""
    model = nn.DistMult(5, 1, 2)
    with torch.no_grad():
        model.node_emb.weight.copy_(torch.stack(
            [ANGLES.cos(), ANGLES.sin()], dim=1) * torch.tensor(
                [[1.0], [2.0], [3.0], [4.0], [5.0]]))
    return model


def test_similar_nodes_by_hand(kg, clock) -> None:
    found = most_similar(clock, kg, ['a', 3], k=3)
    assert found.query.tolist() == [0, 3]
    assert found.labels == [['e', 'b', 'd'], ['b', 'a', 'e']]
    assert found.similarity[0].tolist() == pytest.approx(
        [1, np.cos(np.deg2rad(10)), np.cos(np.deg2rad(30))])
    assert str(found).split('\n')[:2] == ['most similar to a',
                                          '   1  e   1.0000']
    assert found.to_dict()[1]['similar'][0]['label'] == 'b'
    assert found.table().rows[3][:3] == ['d', 1, 'b']
    assert most_similar(clock, kg, 'a', k=99).labels == [
        ['e', 'b', 'd', 'c\tx']]
    clock.node_names = NAMES
    assert most_similar(clock, None, 'a', k=1).labels == [['e']]
    assert clock.training
    with pytest.raises(DataError, match="got 'nobody'"):
        most_similar(clock, kg, 'nobody')
    with pytest.raises(ConfigError, match="'k'.*got 0"):
        most_similar(clock, kg, 'a', k=0)


@torch.no_grad()
def test_representations_are_those_of_encode(kg) -> None:
    model = nn.AdaMF.from_data(kg, hidden_channels=4)
    assert torch.equal(node_representations(model, kg), model.eval().encode())
    rotate = pyg.RotatE(5, 1, 4)
    assert torch.equal(node_representations(rotate), torch.cat(
        [rotate.node_emb.weight, rotate.node_emb_im.weight], dim=1))
    with pytest.raises(ModelError, match="'encode.*got 'Linear'"):
        node_representations(torch.nn.Linear(2, 2), kg)
    with pytest.raises(ModelError, match=r'nodes of the graph \(got 4\)'):
        node_representations(pyg.TransE(4, 1, 2), kg)
    model.node_emb.weight[0] = torch.nan
    with pytest.raises(NonFiniteError):
        node_representations(model, kg)


def test_npz(kg, clock, tmp_path: Path) -> None:
    export_embeddings(clock, kg, tmp_path / 'a.npz')
    with np.load(tmp_path / 'a.npz', allow_pickle=False) as file:
        assert file['labels'].tolist() == NAMES
        assert torch.equal(torch.from_numpy(file['embeddings']),
                           clock.node_emb.weight.detach())


def test_parquet(kg, clock, tmp_path: Path) -> None:
    parquet = pytest.importorskip('pyarrow.parquet')
    export_embeddings(clock, kg, tmp_path / 'a.parquet')
    found = parquet.read_table(tmp_path / 'a.parquet').to_pydict()
    assert found['label'] == NAMES and list(found) == ['label', '0', '1']
    assert found['1'] == clock.node_emb.weight[:, 1].tolist()


def test_projector(kg, clock, tmp_path: Path) -> None:
    folder = tmp_path / 'nodes'
    export_embeddings(clock, kg, folder)
    rows = (folder / 'tensors.tsv').read_text().splitlines()
    torch.testing.assert_close(
        torch.tensor([[float(x) for x in row.split('\t')] for row in rows]),
        clock.node_emb.weight.detach())
    # One line per node, with any characters in its label.
    assert (folder / 'metadata.tsv').read_text().splitlines() == [
        'a', 'b', 'c\\x09x', 'd', 'e']
    text = (folder / 'projector_config.pbtxt').read_text()
    assert 'tensor_path: "tensors.tsv"' in text
    assert 'metadata_path: "metadata.tsv"' in text


def test_files_that_cannot_be_written(kg, clock, tmp_path: Path,
                                      monkeypatch) -> None:
    with pytest.raises(ConfigError, match="ending in '.npz'.*got '.csv'"):
        export_embeddings(clock, kg, tmp_path / 'a.csv')
    monkeypatch.setitem(__import__('sys').modules, 'pyarrow', None)
    with pytest.raises(MMKGCError, match=r"'pyarrow'.*pyg_mmkgc\[pandas\]"):
        export_embeddings(clock, kg, tmp_path / 'a.parquet')
    assert list(tmp_path.iterdir()) == []
