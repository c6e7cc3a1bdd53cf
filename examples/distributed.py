r"""Trains AdaMF-MAT in one process or in several, with the same result.

    python examples/distributed.py
    torchrun --nproc-per-node 2 examples/distributed.py --folder runs/two

Each process has a part of the rows of the structural embeddings and trains on
a part of each batch. Run with `--folder`, a training that was interrupted goes
on from its last checkpoint, with any number of processes.
"""

import argparse
from pathlib import Path

import torch

from pyg_mmkgc import MAT, AdaMFMAT, AdversarialTrainer, evaluate
from pyg_mmkgc.datasets import Countries
from pyg_mmkgc.distributed import (
    build,
    is_main,
    process_group,
    save_over_ranks,
    world_size,
)
from pyg_mmkgc.sampler import PooledSampler
from pyg_mmkgc.training.checkpoint import find_checkpoint

parser = argparse.ArgumentParser()
parser.add_argument('--hidden_channels', type=int, default=64)
parser.add_argument('--epochs', type=int, default=20)
parser.add_argument('--folder', type=Path, default=None)
parser.add_argument('--seed', type=int, default=0)
args = parser.parse_args()

with process_group():  # Has no effect without torchrun.
    torch.manual_seed(args.seed)  # The same weights in all processes.
    kg = Countries()[0]
    model = build(lambda: AdaMFMAT.from_data(kg, args.hidden_channels),
                  kg.num_nodes)
    trainer = AdversarialTrainer(
        model,
        kg,
        adversary=MAT.from_model(model),
        sampler=PooledSampler(num_negatives=128),
        lr=3e-3,
        batch_size=512,
        epochs=args.epochs,
        valid_every=5,
        seed=args.seed,
        folder=args.folder,
        progress=False,
    )
    history = trainer.fit(resume=args.folder is not None
                          and find_checkpoint(args.folder).exists())
    result = evaluate(model, kg, 'test')  # All processes rank together.
    if args.folder is not None:
        save_over_ranks(model, args.folder / 'model', kg)
    if is_main():  # The ranks of all processes are equal.
        print(f'Processes: {world_size()}, best epoch: {history.best_epoch}')
        print(f'Test MRR: {result.mrr:.4f}')
