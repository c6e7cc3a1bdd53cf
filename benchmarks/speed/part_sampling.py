"""The drawing of negatives for a step."""

import torch
from protocol import Row, Setup, row
from workloads import SAMPLERS, Size, db15k, mkg_w, synthetic

CALLS = 20


def samplers(setup: Setup) -> list[Row]:
    """A call of each sampler for B=1024 positives and K=128 on graphs of
    several sizes. A value is the mean of 20 calls.
    """
    size, out = Size.of(setup), []
    graphs = {'MKG-W': mkg_w(setup), 'DB15K': db15k(setup, torch.float16)}
    if not setup.quick:
        graphs['1M nodes, 1M triples'] = synthetic(1_000_000, 1_000_000)
    tasks = {}
    for name, kg in graphs.items():
        train = kg.split('train')
        edge_index = train.edge_index.to(setup.device)
        edge_type = train.edge_type.to(setup.device)
        perm = torch.randperm(edge_type.numel())[:size.batch_size]
        perm = perm.to(setup.device)
        head, rel, tail = edge_index[0][perm], edge_type[perm], (
            edge_index[1][perm])
        for label, cls in SAMPLERS.items():
            sampler = cls(size.num_negatives)
            sampler.prepare(edge_index, edge_type, kg.num_nodes,
                            kg.num_relations)
            generator = torch.Generator().manual_seed(0)

            def run(sampler=sampler, head=head, rel=rel, tail=tail,
                    generator=generator) -> None:
                for _ in range(CALLS):
                    sampler.sample(head, rel, tail, generator)

            tasks[f'{name}: {label}'] = run
    for name, values in setup.interleave(tasks).items():
        out.append(row(name, [1e3 * x / CALLS for x in values], 'ms'))
    return out


def preparation(setup: Setup) -> list[Row]:
    """The reading of the training triples, once before training."""
    kg, tasks = mkg_w(setup), {}
    train = kg.split('train')
    for label, cls in SAMPLERS.items():
        tasks[f'MKG-W: {label}'] = (
            lambda cls=cls: cls().prepare(
                train.edge_index.to(setup.device),
                train.edge_type.to(setup.device), kg.num_nodes,
                kg.num_relations))
    return [row(name, [1e3 * x for x in values], 'ms')
            for name, values in setup.interleave(tasks).items()]


GROUPS = {'samplers': samplers, 'preparation': preparation}
