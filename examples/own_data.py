r"""Loads your own graph from tab-separated labels and features by label.

The example graph is arithmetic modulo 97, where `12  plus_5  17` is a line of
the file. The features of a number are its positions on clocks of different
speeds, and every tenth number has no features.
"""

import argparse
import math
import os
import os.path as osp

import torch

from pyg_mmkgc import AdaMF, KnowledgeGraph, Trainer, evaluate, predict
from pyg_mmkgc.sampler import BernoulliSampler

parser = argparse.ArgumentParser()
path = osp.join(osp.dirname(osp.realpath(__file__)), '..', 'data', 'own_data')
parser.add_argument('--folder', type=str, default=path)
parser.add_argument('--hidden_channels', type=int, default=32)
parser.add_argument('--epochs', type=int, default=60)
parser.add_argument('--seed', type=int, default=0)
args = parser.parse_args()

# One line per triple: head, relation, tail. ##################################
os.makedirs(args.folder, exist_ok=True)
file = osp.join(args.folder, 'triples.tsv')
with open(file, 'w', encoding='utf-8') as f:
    for number in range(97):
        for step in [1, 2, 5, 10, 20, 40]:
            f.write(f'{number}\tplus_{step}\t{(number + step) % 97}\n')

# One row per label. Nodes without a row lack the modality. ###################
clocks = {
    str(number): torch.tensor([
        f(2 * math.pi * number * speed / 97) for speed in range(1, 9)
        for f in (math.cos, math.sin)
    ])
    for number in range(97) if number % 10 != 0
}

kg = KnowledgeGraph.from_tsv(file, val_ratio=0.1, test_ratio=0.1,
                             features={'clock': clocks}, seed=args.seed)
kg.validate()
print(kg)
print(kg.audit())

torch.manual_seed(args.seed)
model = AdaMF.from_data(kg, hidden_channels=args.hidden_channels)
Trainer(model, kg, sampler=BernoulliSampler(num_negatives=32), lr=1e-2,
        batch_size=128, epochs=args.epochs, seed=args.seed,
        progress=False).fit()

print(evaluate(model, kg, split='test'))
print(predict(model, kg, head='95', rel_type='plus_5', k=3))
