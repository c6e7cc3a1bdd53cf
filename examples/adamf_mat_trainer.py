r"""Trains AdaMF-MAT with the trainer: two alternating optimizers (algorithm 1
of the paper), early stopping on validation and filtered metrics. Then predicts
answers with labels and saves the model to a folder.
"""

import argparse
import os.path as osp
import tempfile

import torch

from pyg_mmkgc import MAT, AdaMFMAT, AdversarialTrainer, evaluate, predict
from pyg_mmkgc.datasets import Countries
from pyg_mmkgc.nn import SelfAdversarialLoss
from pyg_mmkgc.sampler import PooledSampler

parser = argparse.ArgumentParser()
parser.add_argument('--hidden_channels', type=int, default=64)
parser.add_argument('--adv_weight', type=float, default=0.01)
parser.add_argument('--epochs', type=int, default=20)
parser.add_argument('--seed', type=int, default=0)
parser.add_argument('--country', type=str, default='Austria')
args = parser.parse_args()

torch.manual_seed(args.seed)
kg = Countries()[0]
print(kg)

model = AdaMFMAT.from_data(kg, hidden_channels=args.hidden_channels)
trainer = AdversarialTrainer(
    model,
    kg,
    adversary=MAT.from_model(model, weight=args.adv_weight),
    sampler=PooledSampler(num_negatives=128),
    loss=SelfAdversarialLoss(temperature=2.0),
    lr=3e-3,
    batch_size=512,
    epochs=args.epochs,
    valid_every=5,
    patience=3,
    seed=args.seed,
)
history = trainer.fit()
print(f'Best epoch: {history.best_epoch:03d}')

print(evaluate(model, kg, split='test'))

print(f'What borders {args.country}?')
print(predict(model, kg, head=args.country, rel_type='neighbour', k=5))

with tempfile.TemporaryDirectory() as folder:
    path = osp.join(folder, 'adamf_mat')
    model.save_pretrained(path, kg)
    again = AdaMFMAT.from_pretrained(path)
    same = evaluate(again, kg).mrr == evaluate(model, kg).mrr
    print(f'Loaded again, the model has the same MRR: {same}')
