r"""Defines a new model in a dozen lines, and a multi-modal version in a dozen
more: a rotation with an inner product.

A model defines the query of a known node and a relation (`query`), and the
comparison of queries with candidates (`similarity`). A multi-modal model also
defines its views (`embed`) and their fusion into one representation (`fuse`).
Losses, samplers, trainers, evaluation and predictions then work without
further code. Check this with `pyg_mmkgc.testing.check_model(WithModalities,
hidden_channels=4, lr=0.1)`.
"""

import argparse
from typing import Any

import torch
from torch import Tensor
from torch.nn import Embedding
from torch_geometric.nn.inits import reset

from pyg_mmkgc import Trainer, evaluate
from pyg_mmkgc.datasets import Countries
from pyg_mmkgc.nn import QueryModel
from pyg_mmkgc.nn.encoder import make_encoders
from pyg_mmkgc.nn.functional import rotate
from pyg_mmkgc.nn.similarity import InnerProduct
from pyg_mmkgc.sampler import PooledSampler
from pyg_mmkgc.typing import Side


class RotatedProduct(QueryModel):
    r"""Scores triples by Re(<h e^(i theta), t>)."""
    similarity = InnerProduct()

    def __init__(self, num_nodes: int, num_relations: int,
                 hidden_channels: int, **kwargs: Any) -> None:
        super().__init__(num_nodes, num_relations, hidden_channels, **kwargs)
        self.node_emb = Embedding(num_nodes, 2 * hidden_channels)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        torch.nn.init.xavier_uniform_(self.node_emb.weight)
        torch.nn.init.uniform_(self.rel_emb.weight, -torch.pi, torch.pi)

    def query(self, x: Tensor, rel_type: Tensor, side: Side) -> Tensor:
        return rotate(x, self.rel_emb(rel_type), inverse=side == 'head')


class WithModalities(RotatedProduct):
    r"""Scores triples in the same way, on the sum of all views."""
    def __init__(self, num_nodes: int, num_relations: int,
                 hidden_channels: int, modalities: dict[str, Tensor],
                 masks: dict[str, Tensor]) -> None:
        super().__init__(num_nodes, num_relations, hidden_channels,
                         modalities=modalities)
        self.encoders = make_encoders(modalities, masks, 2 * hidden_channels,
                                      missing='zeros')

    def reset_parameters(self) -> None:
        super().reset_parameters()
        # The base class calls this before the encoders exist.
        reset(getattr(self, 'encoders', None))

    def embed(self, index: Tensor) -> dict[str, Tensor]:
        return super().embed(index) | {
            name: encoder(index) for name, encoder in self.encoders.items()}

    def fuse(self, views: dict[str, Tensor]) -> Tensor:
        return torch.stack(torch.broadcast_tensors(*views.values())).sum(dim=0)


parser = argparse.ArgumentParser()
parser.add_argument('--hidden_channels', type=int, default=64)
parser.add_argument('--epochs', type=int, default=15)
parser.add_argument('--seed', type=int, default=0)
args = parser.parse_args()

torch.manual_seed(args.seed)
kg = Countries()[0]

for cls in [RotatedProduct, WithModalities]:
    model = cls.from_data(kg, args.hidden_channels)
    Trainer(model, kg, sampler=PooledSampler(num_negatives=16), lr=5e-3,
            batch_size=512, epochs=args.epochs, seed=args.seed,
            progress=False).fit()
    print(f"Modalities: {', '.join(['structure', *model.modalities])}, "
          f'Test MRR: {evaluate(model, kg).mrr:.4f}')
