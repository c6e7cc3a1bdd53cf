r"""Compares PyG's TransE, DistMult, ComplEx and RotatE with AdaMF-MAT, with
the same trainer and evaluator (filtered, both sides) and the models' own
losses.
"""

import argparse
import time

import torch
from torch_geometric.nn import ComplEx, DistMult, RotatE, TransE

from pyg_mmkgc import AdaMFMAT, Trainer, evaluate
from pyg_mmkgc.datasets import Countries

parser = argparse.ArgumentParser()
parser.add_argument('--hidden_channels', type=int, default=64)
parser.add_argument('--batch_size', type=int, default=512)
parser.add_argument('--lr', type=float, default=0.003)
parser.add_argument('--epochs', type=int, default=20)
parser.add_argument('--seed', type=int, default=0)
args = parser.parse_args()

model_map = {
    'TransE': TransE,
    'DistMult': DistMult,
    'ComplEx': ComplEx,
    'RotatE': RotatE,
    'AdaMFMAT': AdaMFMAT,
}

kg = Countries()[0]

print('Model       MRR     H@1     H@10    Seconds')
for name, cls in model_map.items():
    torch.manual_seed(args.seed)
    # The other four models do not use features:
    kwargs = {'modalities': kg.features(),
              'masks': kg.masks()} if cls is AdaMFMAT else {}
    model = cls(kg.num_nodes, kg.num_relations, args.hidden_channels, **kwargs)
    start = time.perf_counter()
    Trainer(model, kg, lr=args.lr, batch_size=args.batch_size,
            epochs=args.epochs, seed=args.seed, progress=False).fit()
    seconds = time.perf_counter() - start
    result = evaluate(model, kg, split='test')
    print(f'{name:<12}{result.mrr:.4f}  {result.hits_at(1):.4f}  '
          f'{result.hits_at(10):.4f}  {seconds:7.1f}')
print(f'Protocol: {kg.num_nodes} candidates a query; {args.epochs} epochs, '
      f'{args.hidden_channels} channels, seed {args.seed}')
