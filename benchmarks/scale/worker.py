r"""The processes of :obj:`run.py`, which make a graph or measure it."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import graphs
import torch
import torch.distributed as dist

from pyg_mmkgc.data import KnowledgeGraph
from pyg_mmkgc.data.fingerprint import fingerprint
from pyg_mmkgc.distributed import build, is_main, process_group, world_size
from pyg_mmkgc.distributed.group import gather_objects
from pyg_mmkgc.distributed.table import ShardedEmbedding
from pyg_mmkgc.evaluation import evaluate
from pyg_mmkgc.io.provenance import provenance
from pyg_mmkgc.nn import AdaMF
from pyg_mmkgc.sampler import PooledSampler
from pyg_mmkgc.training import RowAdagrad, Trainer


def resident() -> int:
    r"""Returns the bytes of this process in memory, without mapped files."""
    with open('/proc/self/status', encoding='ascii') as file:
        fields = dict(line.split(':', 1) for line in file)
    return 1024 * int(fields['RssAnon'].split()[0])


class Clock:
    r"""Records the seconds and the peak memory of phases."""

    def __init__(self) -> None:
        self.phases: dict[str, dict[str, float]] = {}

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        done, before = threading.Event(), resident()
        peak = [before]

        def watch() -> None:
            while not done.wait(0.02):
                peak[0] = max(peak[0], resident())

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        start = time.perf_counter()
        try:
            yield
        finally:
            seconds = time.perf_counter() - start
            done.set()
            thread.join()
        self.phases[name] = {
            'seconds': round(seconds, 3), 'peak_mb': round(peak[0] / 1e6, 1),
            'before_mb': round(before / 1e6, 1)}
        if is_main():
            print(name, self.phases[name], file=sys.stderr, flush=True)


class Traffic:
    r"""Counts the bytes that this process sends in all-to-all and all-reduce
    collectives.
    """

    def __init__(self) -> None:
        self.bytes = {'rows': 0, 'sums': 0}
        #: The rows that this process asked for in each lookup, and the rows
        #: that all processes asked this process for.
        self.asked: list[int] = []
        self.served: list[int] = []

    @contextlib.contextmanager
    def counting(self) -> Iterator[None]:
        exchange, reduce = dist.all_to_all_single, dist.all_reduce

        def counted(out: Any, x: Any, theirs: Any = None, ours: Any = None,
                    **kwargs: Any) -> Any:
            width = x[0].numel() * x.element_size() if x.numel() else 0
            away = (x.size(0) - ours[dist.get_rank()] if ours else
                    x.size(0) - 1)
            self.bytes['rows'] += away * width
            if x.dim() == 1 and ours:
                self.asked.append(x.numel())
                self.served.append(out.numel())
            return exchange(out, x, theirs, ours, **kwargs)

        def summed(x: Any, *args: Any, **kwargs: Any) -> Any:
            # A ring sends 2 (K - 1) / K of a tensor.
            K = dist.get_world_size()
            self.bytes['sums'] += int(
                2 * (K - 1) / K * x.numel() * x.element_size())
            return reduce(x, *args, **kwargs)

        dist.all_to_all_single, dist.all_reduce = counted, summed
        try:
            yield
        finally:
            dist.all_to_all_single, dist.all_reduce = exchange, reduce


def trainer_of(model: Any, kg: Any, args: Any, **kwargs: Any) -> Trainer:
    make = None
    if args.optimizer == 'adagrad':
        def make(params: Any) -> RowAdagrad:
            return RowAdagrad(params, lr=0.1)
    return Trainer(model, kg, sampler=PooledSampler(128), optimizer=make,
                   batch_size=args.batch_size, valid_every=None,
                   triples_per_epoch=args.steps * args.batch_size,
                   progress=False, folder=Path(args.folder, 'run'), **kwargs)


def measure_text(args: Any) -> None:
    r"""Measures reading the triples from a tab-separated file, and saving the
    graph.
    """
    clock = Clock()
    with clock.phase('read'):
        kg = KnowledgeGraph.from_tsv(Path(args.folder, 'triples.tsv'))
    with clock.phase('save'):
        kg.save(Path(args.folder, 'copy.safetensors'))
    write(args, {'phases': clock.phases, 'triples': kg.num_edges})


def write(args: Any, found: dict[str, Any]) -> None:
    Path(args.out).write_text(json.dumps({
        'settings': {key: value for key, value in vars(args).items()
                     if key not in ('out', 'folder', 'results', 'scratch',
                                    'action', 'force', 'processes')},
        **found, 'threads': torch.get_num_threads(),
        'machine': f'{platform.machine()}, {os.cpu_count()} cores',
        **provenance()}, indent=1) + '\n')


def measure(args: Any) -> None:
    clock, traffic = Clock(), Traffic()
    with clock.phase('load'):
        kg = graphs.load(Path(args.folder))
    with clock.phase('fingerprint'):
        fingerprint(kg)
    if is_main():
        with clock.phase('audit'):
            kg.audit()
    torch.manual_seed(0)
    shutil.rmtree(Path(args.folder, 'run'), ignore_errors=True)
    with clock.phase('build'):
        model = build(lambda: AdaMF.from_data(
            kg, args.channels, sparse=True), kg.num_nodes)
    with clock.phase('prepare'):
        trainer = trainer_of(model, kg, args, epochs=1)
        trainer.fingerprint()
    save = trainer._save
    trainer._save = lambda *a, **k: Path()  # Measured on its own.
    with clock.phase('train'), (traffic.counting() if world_size() > 1 else
                                contextlib.nullcontext()):
        trainer.fit()
    state = sum(x.numel() * x.element_size()
                for x in (*(p.data for p in model.parameters()), *(
                    x for slots in trainer.optimizers['model'].state.values()
                    for x in slots.values() if isinstance(x, torch.Tensor))))
    with clock.phase('checkpoint'):
        save(Path(args.folder, 'run'), None)
    size = sum(file.stat().st_size for file in Path(
        args.folder, 'run').rglob('*') if file.is_file())
    with clock.phase('rank'):
        result = evaluate(model, kg, 'test')
    rows = model.node_emb.weight.size(0)
    del model, trainer, save
    torch.manual_seed(0)
    model = build(lambda: AdaMF.from_data(kg, args.channels, sparse=True),
                  kg.num_nodes)
    with clock.phase('resume'):
        trainer_of(model, kg, args, epochs=1).fit(resume=True)
    steps = -(-min(args.steps * args.batch_size,
                   int(kg.train_mask.sum())) // args.batch_size)
    K, width = world_size(), model.node_emb.weight.size(1)
    copied = sum(p.numel() for p in model.parameters()) - (
        model.node_emb.weight.numel())
    formula = {'rows': sum(traffic.asked) / steps * (K - 1) / K * (
        8 + 8 * width) / 1e6, 'sums': 8 * copied * (K - 1) / K / 1e6}
    every = gather_objects({
        'phases': clock.phases, 'state_mb': round(state / 1e6, 1),
        'rows': rows,
        'sent_mb_per_step': {name: round(count / steps / 1e6, 3)
                             for name, count in traffic.bytes.items()},
        'formula_mb_per_step': {name: round(x, 3)
                                for name, x in formula.items()},
        'rows_asked_per_step': sum(traffic.asked) / steps,
        'rows_served_per_step': sum(traffic.served) / steps})
    lookups = list(zip(*gather_objects(traffic.served), strict=True))
    uneven = [K * max(x) / sum(x) for x in lookups]
    assert world_size() == 1 or isinstance(model.node_emb, ShardedEmbedding)
    if is_main():
        write(args, {
            'processes': every, 'steps': steps,
            # The most rows of a process over the mean of all, in a lookup.
            'imbalance': {'mean': round(sum(uneven) / len(uneven), 4),
                          'max': round(max(uneven), 4)} if uneven else None,
            'checkpoint_mb': round(size / 1e6, 1), 'mrr': result.mrr})


def main() -> None:
    args = SimpleNamespace(**json.loads(sys.argv[1]))
    if args.action == 'make':
        graphs.make(Path(args.folder), args.nodes,
                    args.nodes * args.triples_per_node, args.relations,
                    0 if args.text else args.features, args.missing)
        return
    if args.action == 'text':
        measure_text(args)
        return
    with process_group():
        measure(args)


if __name__ == '__main__':
    main()
