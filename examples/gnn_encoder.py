r"""A GNN encoder under AdaMF's fusion and MAT: PyG's RGCN, or a CompGCN layer
in a dozen lines, in place of the table of structural embeddings.
"""

import argparse
import os.path as osp

import torch
from torch import Tensor
from torch_geometric.nn import MessagePassing

from pyg_mmkgc import MAT, AdaMFMAT, AdversarialTrainer, Countries, evaluate
from pyg_mmkgc.nn import GNNEncoder

parser = argparse.ArgumentParser()
path = osp.join(osp.dirname(osp.realpath(__file__)), '..', 'data', 'gnn')
parser.add_argument('--folder', type=str, default=path)
parser.add_argument('--conv', choices=['RGCNConv', 'CompGCNConv'],
                    default='RGCNConv')
parser.add_argument('--hidden_channels', type=int, default=64)
parser.add_argument('--epochs', type=int, default=20)
parser.add_argument('--seed', type=int, default=0)
args = parser.parse_args()


class CompGCNConv(MessagePassing):
    r"""CompGCN's composition of a neighbour with its relation by subtraction,
    with relation embeddings of the layer and a mean over the neighbours.
    """
    def __init__(self, in_channels: int, out_channels: int,
                 num_relations: int) -> None:
        super().__init__(aggr='mean')
        self.rel_emb = torch.nn.Embedding(num_relations, in_channels)
        self.lin = torch.nn.Linear(in_channels, out_channels, bias=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        torch.nn.init.xavier_uniform_(self.rel_emb.weight)
        self.lin.reset_parameters()

    def forward(self, x: Tensor, edge_index: Tensor,
                edge_type: Tensor) -> Tensor:
        return self.propagate(edge_index, x=x, rel=self.rel_emb(edge_type))

    def message(self, x_j: Tensor, rel: Tensor) -> Tensor:
        return self.lin(x_j - rel)


kg = Countries()[0]
torch.manual_seed(args.seed)
options = {'num_bases': 8} if args.conv == 'RGCNConv' else {}
encoder = GNNEncoder(args.conv, num_layers=1, dropout=0.2, **options)
model = AdaMFMAT.from_data(kg, hidden_channels=args.hidden_channels,
                           margin=3.0, encoder=encoder)
AdversarialTrainer(model, kg, adversary=MAT.from_model(model), lr=1e-2,
                   batch_size=1024, epochs=args.epochs, seed=args.seed,
                   progress=False).fit()
result = evaluate(model, kg, split='test')
print(result)

model.save_pretrained(args.folder, kg)
again = AdaMFMAT.from_pretrained(args.folder)
print(f'Loaded, the MRR is equal: {evaluate(again, kg).mrr == result.mrr}')
