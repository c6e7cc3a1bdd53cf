"""PyG's own models in PyG's own loop and in the Trainer."""

from collections.abc import Callable
from dataclasses import replace

import torch
from protocol import Row, Setup, ratio, row
from torch_geometric.nn import ComplEx, DistMult, KGEModel, RotatE, TransE
from workloads import Size, epoch, mkg_w, trainer

from pyg_mmkgc import KnowledgeGraph

MODELS: dict[str, type[KGEModel]] = {
    'TransE': TransE, 'DistMult': DistMult, 'ComplEx': ComplEx,
    'RotatE': RotatE}


def build(name: str, kg: KnowledgeGraph, size: Size) -> KGEModel:
    torch.manual_seed(0)
    return MODELS[name](kg.num_nodes, kg.num_relations, size.channels)


def pyg_epoch(model: KGEModel, kg: KnowledgeGraph, size: Size, setup: Setup,
              fused: bool) -> Callable[[], None]:
    """The loop of PyG's ``examples/kge_fb15k_237.py``."""
    train = kg.split('train')
    device = setup.device
    (head, tail), rel = train.edge_index.to(device), train.edge_type.to(device)
    model = model.to(device)
    loader = model.loader(head, rel, tail, batch_size=size.batch_size,
                          shuffle=True)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3,
                                 fused=True if fused else None)

    def run() -> None:
        model.train()
        total_loss = total_examples = 0.0
        for head_index, rel_type, tail_index in loader:
            optimizer.zero_grad()
            loss = model.loss(head_index, rel_type, tail_index)
            loss.backward()
            optimizer.step()
            total_loss += float(loss.detach()) * head_index.numel()
            total_examples += head_index.numel()

    return run


def _compare(name: str, setup: Setup) -> list[Row]:
    kg, size = mkg_w(setup), Size.of(setup)
    many = size.num_negatives
    tasks: dict[str, Callable[[], object]] = {
        "PyG's loop, 1 negative": pyg_epoch(build(name, kg, size), kg, size,
                                            setup, fused=False),
        "PyG's loop, fused Adam, 1 negative": pyg_epoch(
            build(name, kg, size), kg, size, setup, fused=True)}
    for sampler, num in ((None, 1), ('uniform', 1), ('pooled', many),
                         ('uniform', many), ('bernoulli', many)):
        run = trainer(setup, build(name, kg, size), kg, sampler,
                      replace(size, num_negatives=num))
        label = "the model's own" if sampler is None else sampler
        tasks[f'Trainer, {num} negative{"s" * (num > 1)}, {label}'] = (
            epoch(run))
    found = setup.interleave(tasks)
    first, *_ = found
    out = [row(f'{name}: {task}: epoch', values)
           for task, values in found.items()]
    for task, values in found.items():
        if not task.startswith('Trainer'):
            continue
        bar = None
        if "the model's own" in task:
            bar = setup.bar(('<=', 1.0))
        elif 'pooled' in task:
            bar = setup.bar(('<=', 4.0))
        out.append(ratio(f"{name}: {task} / PyG's loop", values,
                         found[first], bar))
    return out


def _group(name: str) -> Callable[[Setup], list[Row]]:
    def group(setup: Setup) -> list[Row]:
        return _compare(name, setup)

    group.__doc__ = (
        f'An epoch of {name} on MKG-W, d=200, B=1024. "The model\'s own" is '
        "PyG's loss with one negative, as in PyG's loop.")
    return group


GROUPS = {name: _group(name) for name in MODELS}
