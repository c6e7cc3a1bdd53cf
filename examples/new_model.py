r"""A new model in ten lines: DistMult on the sum of all modalities.

A model is three calls. `embed` gives one view per modality, `fuse` makes of
them the representation that is scored, `score` scores representations. The
losses, samplers, trainers, evaluation and predictions follow from these.
"""

import argparse

import torch
from torch import Tensor

from pyg_mmkgc import MMKGEModel, Trainer, evaluate
from pyg_mmkgc.datasets import Countries
from pyg_mmkgc.nn import ModalityEncoder
from pyg_mmkgc.nn.functional import diagonal_score
from pyg_mmkgc.sampler import PooledSampler


class SumDistMult(MMKGEModel):
    def __init__(self, num_nodes, num_relations, hidden_channels,
                 modalities=None, masks=None, **kwargs):
        super().__init__(num_nodes, num_relations, hidden_channels,
                         modalities, **kwargs)
        self.encoders = torch.nn.ModuleDict({
            name: ModalityEncoder(x, hidden_channels, (masks or {}).get(name),
                                  missing='zeros')
            for name, x in (modalities or {}).items()})
        self.reset_parameters()

    def reset_parameters(self) -> None:
        torch.nn.init.normal_(self.node_emb.weight, std=0.3)
        torch.nn.init.normal_(self.rel_emb.weight, std=0.3)

    def embed(self, index: Tensor) -> dict[str, Tensor]:
        return super().embed(index) | {name: encoder(index) for name, encoder
                                       in self.encoders.items()}

    def fuse(self, views: dict[str, Tensor]) -> Tensor:
        return sum(views.values())

    def score(self, head: Tensor, rel_type: Tensor, tail: Tensor) -> Tensor:
        return diagonal_score(head, self.rel_emb(rel_type), tail)


parser = argparse.ArgumentParser()
parser.add_argument('--hidden_channels', type=int, default=128)
parser.add_argument('--epochs', type=int, default=20)
parser.add_argument('--seed', type=int, default=0)
args = parser.parse_args()

torch.manual_seed(args.seed)
kg = Countries()[0]

for modalities in [[], kg.modalities]:
    model = SumDistMult(
        kg.num_nodes, kg.num_relations, args.hidden_channels,
        {name: kg.features()[name] for name in modalities}, kg.masks())
    Trainer(model, kg, sampler=PooledSampler(num_negatives=128), lr=3e-3,
            batch_size=512, epochs=args.epochs, seed=args.seed,
            progress=False).fit()
    print(f"Modalities: {', '.join(['structure', *modalities])}, "
          f'Test MRR: {evaluate(model, kg).mrr:.4f}')
