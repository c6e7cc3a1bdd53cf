r"""Compares policies for nodes that lack a modality.

AdaMF is trained on the same triples with an increasing share of missing
features, with each policy: `random` features as in the paper, `zeros`, the
`mean`, one `learned` embedding, or `drop`, which removes the modality from
the softmax of the fusion.
"""

import argparse

import torch

from pyg_mmkgc import AdaMF, KnowledgeGraph, Trainer, evaluate
from pyg_mmkgc.datasets import FakeMMKG
from pyg_mmkgc.sampler import PooledSampler

parser = argparse.ArgumentParser()
parser.add_argument('--num_nodes', type=int, default=200)
parser.add_argument('--hidden_channels', type=int, default=32)
parser.add_argument('--epochs', type=int, default=40)
parser.add_argument('--rates', type=float, nargs='+', default=[0.0, 0.4, 0.8])
parser.add_argument('--seed', type=int, default=0)
args = parser.parse_args()

policies = ['random', 'zeros', 'mean', 'learned', 'drop']


def train_and_test(kg: KnowledgeGraph, missing: str) -> float:
    torch.manual_seed(args.seed)
    model = AdaMF.from_data(kg, hidden_channels=args.hidden_channels,
                            missing=missing)
    Trainer(model, kg, sampler=PooledSampler(num_negatives=64), lr=1e-2,
            batch_size=256, epochs=args.epochs, seed=args.seed,
            progress=False).fit()
    return evaluate(model, kg, split='test').mrr


print('Test MRR')
print('Missing  ' + ''.join(f'{policy:>9}' for policy in policies))
for rate in args.rates:
    kg = FakeMMKG(num_nodes=args.num_nodes, coverage=1.0 - rate,
                  seed=args.seed)[0]
    row = [train_and_test(kg, policy) for policy in policies]
    print(f'{rate:7.0%}  ' + ''.join(f'{mrr:9.4f}' for mrr in row))
