"""GNN encoders under decoders, against sums over the edges."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch_geometric.nn import MessagePassing

from pyg_mmkgc import (
    MAT,
    AdaMF,
    AdaMFMAT,
    AdversarialTrainer,
    Countries,
    FakeMMKG,
    KnowledgeGraph,
    evaluate,
)
from pyg_mmkgc.errors import CheckpointError, ModelError
from pyg_mmkgc.io import seal
from pyg_mmkgc.nn import DistMult, GNNEncoder, MMKGEModel, TransE
from pyg_mmkgc.testing import check_model


class CompGCNConv(MessagePassing):
    """A layer of CompGCN with the composition by subtraction and a mean over
    the edges."""
    def __init__(self, in_channels: int, out_channels: int,
                 num_relations: int) -> None:
        super().__init__(aggr='mean')
        self.rel_emb = torch.nn.Embedding(num_relations, in_channels)
        self.lin = torch.nn.Linear(in_channels, out_channels, bias=False)

    def reset_parameters(self) -> None:
        self.rel_emb.reset_parameters()
        self.lin.reset_parameters()

    def forward(self, x: Tensor, edge_index: Tensor,
                edge_type: Tensor) -> Tensor:
        return self.propagate(edge_index, x=x, rel=self.rel_emb(edge_type))

    def message(self, x_j: Tensor, rel: Tensor) -> Tensor:
        return self.lin(x_j - rel)


def graph() -> KnowledgeGraph:
    return FakeMMKG(num_nodes=12, num_relations=3, num_edges=30,
                    modalities={'visual': 5, 'text': 4})[0]


def edges(kg: KnowledgeGraph) -> list[tuple[int, int, int]]:
    """Sources, relations and targets of both directions."""
    train = kg.split('train')
    out = []
    for h, t, r in zip(*train.edge_index.tolist(), train.edge_type.tolist(),
                       strict=True):
        out += [(h, r, t), (t, r + kg.num_relations, h)]
    return out


def test_rgcn() -> None:
    kg = graph()
    model = DistMult.from_data(kg, hidden_channels=4, encoder=GNNEncoder(
        'RGCNConv', num_layers=2)).double()
    x = model.node_emb.weight
    for i, conv in enumerate(model.node_emb.convs):
        out = x @ conv.root + conv.bias
        for node in range(12):
            for rel in range(6):
                near = [x[s] for s, r, t in edges(kg) if (r, t) == (rel, node)]
                if near:  # The mean over the neighbours of each relation.
                    mean = torch.stack(near).mean(dim=0) @ conv.weight[rel]
                    out = out + torch.eye(12)[node].unsqueeze(1) * mean
        x = x + (out.relu() if i == 0 else out)
    torch.testing.assert_close(model.encode(), x)
    index = torch.tensor([[3, 0], [7, 3]])
    torch.testing.assert_close(model.encode(index), x[index])
    head, rel, tail = torch.tensor([[1, 2], [0, 2], [5, 6]])
    torch.testing.assert_close(model(head, rel, tail), (
        x[head] * model.rel_emb.weight[rel] * x[tail]).sum(-1))


def test_a_convolution_of_ones_own() -> None:
    kg = graph()
    model = TransE.from_data(kg, hidden_channels=4, encoder=GNNEncoder(
        CompGCNConv, num_layers=1)).double()
    weight, conv = model.node_emb.weight, model.node_emb.convs[0]
    for node in range(12):
        sums = [conv.lin.weight @ (weight[s] - conv.rel_emb.weight[r])
                for s, r, t in edges(kg) if t == node]
        wanted = weight[node] + (torch.stack(sums).mean(0) if sums else 0)
        torch.testing.assert_close(
            model.node_emb(torch.tensor(node)), wanted)


def test_a_convolution_without_relations() -> None:
    model = AdaMF.from_data(graph(), hidden_channels=4, encoder=GNNEncoder(
        'SAGEConv', num_layers=1, aggr='max'))
    assert model.encode().shape == (12, 8)


@pytest.mark.parametrize('cls, conv', [(AdaMF, 'RGCNConv'),
                                       (TransE, CompGCNConv)])
def test_the_contract_of_models(cls: type[MMKGEModel], conv: Any) -> None:
    checks = ['finite', 'shapes', 'broadcasting', 'score_tails',
              'score_heads', 'score_candidates', 'batch_of_0_and_1',
              'out_of_range', 'float64', 'eval_is_deterministic', 'gradients',
              'state_dict', 'pretrained', 'seed', 'higher_is_better', 'mat']
    check_model(lambda data: cls.from_data(
        data, hidden_channels=8, margin=3.0,
        encoder=GNNEncoder(conv, num_layers=1)), checks=checks)


def test_all_parameters_are_trained() -> None:
    kg = graph()
    model = AdaMFMAT.from_data(kg, hidden_channels=4, encoder=GNNEncoder(
        'RGCNConv', dropout=0.1, num_bases=2))
    before = {name: p.clone() for name, p in model.named_parameters()}
    AdversarialTrainer(model, kg, adversary=MAT.from_model(model), epochs=2,
                       batch_size=16, lr=0.01, progress=False).fit()
    same = [name for name, p in model.named_parameters()
            if torch.equal(p, before[name])]
    assert same == []


SCRIPT = """
import sys
from pyg_mmkgc import Countries, MMKGEModel, evaluate
model = MMKGEModel.from_pretrained(sys.argv[1])
evaluate(model, Countries()[0], 'val').save(sys.argv[2])
"""


def test_rgcn_under_adamf_with_mat_on_countries(tmp_path: Path) -> None:
    """Trained, saved, loaded in another process, and ranked the same."""
    kg = Countries()[0]
    model = AdaMFMAT.from_data(
        kg, hidden_channels=8, margin=3.0,
        encoder=GNNEncoder('RGCNConv', num_layers=2, num_bases=2))
    adversary = MAT.from_model(model)
    AdversarialTrainer(model, kg, adversary=adversary, epochs=1, lr=1e-2,
                       batch_size=2048, valid_every=None,
                       progress=False).fit()
    result = evaluate(model, kg, 'val')
    model.save_pretrained(tmp_path / 'model', kg)
    subprocess.run([sys.executable, '-c', SCRIPT, str(tmp_path / 'model'),
                    str(tmp_path / 'ranks.safetensors')], check=True)
    again = type(result).load(tmp_path / 'ranks.safetensors')
    for ours, theirs in zip(result.ranks, again.ranks, strict=True):
        assert torch.equal(ours, theirs)
    assert result.mrr > 0.01


def test_saved_folders(tmp_path: Path) -> None:
    kg = graph()
    model = AdaMF.from_data(kg, hidden_channels=4, encoder=GNNEncoder(
        'RGCNConv', num_layers=1, dropout=0.2, num_bases=2)).eval()
    model.save_pretrained(tmp_path)
    again = AdaMF.from_pretrained(tmp_path)
    assert torch.equal(again.encode(), model.encode())
    assert again.node_emb.config() == {
        'conv': 'RGCNConv', 'num_layers': 1, 'dropout': 0.2, 'num_bases': 2}

    path = tmp_path / 'config.json'
    saved = json.loads(path.read_text())
    for encoder, message in (
            ({'conv': 'NoConv'}, "got {'conv': 'NoConv'}.*own before using"),
            ({'conv': 'RGCNConv', 'num_layers': 0}, 'num_layers'),
            ({'conv': 'RGCNConv', 'colour': 1}, 'colour'),
            ('RGCNConv', "got 'RGCNConv'"),
            ({'conv': 'RGCNConv', 'num_bases': 3}, 'fit its config')):
        saved['modules'] = {'encoder': encoder}
        path.write_text(json.dumps(saved))
        seal(tmp_path, ['config.json', 'labels.json', 'model.safetensors'])
        with pytest.raises(CheckpointError, match=message):
            AdaMF.from_pretrained(tmp_path)


@pytest.mark.parametrize('args, kwargs, message', [
    (('NoConv', ), {}, "MessagePassing class .*got 'NoConv'"),
    ((torch.nn.Linear, ), {}, 'MessagePassing class .*Linear'),
    (('RGCNConv', 0), {}, "'num_layers' to be an integer >= 1 .got 0"),
    (('RGCNConv', 1, 1.0), {}, r"'dropout' to lie in \[0, 1\) .got 1.0"),
    (('RGCNConv', ), {'aggr': ['add']}, "'aggr' to be a plain value"),
])
def test_bad_arguments(args: tuple, kwargs: dict, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        GNNEncoder(*args, **kwargs)


def test_models_that_have_nothing_to_encode() -> None:
    kg = graph()
    with pytest.raises(ModelError, match='structural embeddings .*got none'):
        AdaMF.from_data(kg, hidden_channels=4, structure=False,
                        encoder=GNNEncoder('RGCNConv'))
    with pytest.raises(ModelError, match='arguments of RGCNConv for 8 chan'):
        AdaMF.from_data(kg, hidden_channels=4, encoder=GNNEncoder(
            'RGCNConv', num_blocks=3))
