from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Optional

import torch
from torch import Tensor
from torch_geometric.nn.kge import KGEModel

from pyg_mmkgc.data import KnowledgeGraph
from pyg_mmkgc.errors import ModelError
from pyg_mmkgc.nn.kge import AdaMF, RotatE
from pyg_mmkgc.sampler import Negatives, NegativeSampler
from pyg_mmkgc.sampler.base import head_probability
from pyg_mmkgc.testing.subject import (
    changed,
    expect,
    named,
    run_check,
    small_graph,
    state,
    triples,
)
from pyg_mmkgc.training import Trainer

DRAWS = 50


@dataclass
class Drawn:
    r"""The sampler that is checked, and what it should do."""
    target: type[NegativeSampler]
    kwargs: dict[str, Any]
    side: Optional[str]
    filtered: bool
    devices: Sequence[str]

    def build(self, model: KGEModel) -> NegativeSampler:
        r"""A sampler for the small graph and a model of it."""
        build = getattr(self.target, 'from_data', None)
        out = (self.target(**self.kwargs) if build is None else
               build(small_graph(), model, **self.kwargs))
        expect(isinstance(out, NegativeSampler), 'expected a '
               f'NegativeSampler, got {type(out).__name__}')
        return out

    def prepared(self, device: str = 'cpu') -> NegativeSampler:
        r"""A sampler that was told all that a trainer tells it."""
        torch.manual_seed(0)
        data = small_graph()
        model = small_model(data).to(device)
        sampler = self.build(model)
        if sampler.module is not None:
            sampler.module.to(device)
        sampler.prepare(data.edge_index.to(device), data.edge_type.to(device),
                        data.num_nodes, data.num_relations)
        sampler.check(model)
        sampler.begin_epoch(model, 1, 2)
        return sampler

    def draw(self, seed: int = 0, size: Optional[int] = None,
             device: str = 'cpu') -> Negatives:
        r"""The negatives of the first positives, of a new sampler."""
        head, rel, tail = (x[:size].to(device)
                           for x in triples(small_graph()))
        return self.prepared(device).sample(
            head, rel, tail, torch.Generator().manual_seed(seed))

    def many(self) -> tuple[Tensor, Tensor]:
        r"""Nodes and sides of many draws, :obj:`[DRAWS, B, K]`."""
        sampler, generator = self.prepared(), torch.Generator().manual_seed(0)
        found = [sampler.sample(*triples(small_graph()), generator)
                 for _ in range(DRAWS)]
        return (torch.stack([x.node for x in found]),
                torch.stack([x.corrupt_head for x in found]))


def small_model(data: KnowledgeGraph) -> AdaMF:
    r"""A model with a structure and two modalities."""
    return AdaMF.from_data(data, 4, margin=3.0)


def check_shapes(subject: Drawn) -> None:
    r"""Nodes, sides and masks are :obj:`[B, K]`, for one positive, too."""
    asked = subject.prepared().num_negatives
    for size in (1, 7):
        out = subject.draw(size=size)
        K = out.node.size(-1)
        expect(out.node.shape == (size, K) and K > 0 and K % asked == 0,
               f'expected nodes [{size}, {asked}] or some times as many, got '
               f'{list(out.node.shape)}')
        expect(out.node.dtype == torch.long,
               f'expected nodes of torch.int64, got {out.node.dtype}')
        masks = {'corrupt_head': out.corrupt_head, **(out.kept or {})}
        for name, mask in masks.items():
            expect(mask.shape == (size, K) and mask.dtype == torch.bool,
                   f'{name}: expected [{size}, {K}] of torch.bool, got '
                   f'{list(mask.shape)} of {mask.dtype}')
        unknown = set(out.kept or {}) - {'structure', 'visual', 'text'}
        expect(not unknown, f'kept names views that there are not: {unknown}')
        if out.choice is not None:
            chosen = out.choice.candidates[out.choice.picks]
            expect(torch.equal(chosen, out.node),
                   'the picks of a choice are not its nodes')


def check_devices(subject: Drawn) -> None:
    r"""Negatives are where the positives are."""
    for device in subject.devices:
        out = subject.draw(device=device)
        for name, x in (('nodes', out.node), ('sides', out.corrupt_head),
                        *(out.kept or {}).items()):
            expect(x.device.type == torch.device(device).type,
                   f'{name}: expected {device}, got {x.device}')


def check_seeds(subject: Drawn) -> None:
    r"""The generator, and nothing else, says what is drawn."""
    sampler = subject.prepared()
    before = torch.get_rng_state()
    found = sampler.sample(*triples(small_graph()),
                           torch.Generator().manual_seed(0))
    expect(torch.equal(before, torch.get_rng_state()),
           'draws from the global random numbers')
    same, other = subject.draw(), subject.draw(seed=1)
    for name, x in _parts(found).items():
        expect(torch.equal(x, _parts(same)[name]),
               f'one seed gives different {name}')
    expect(not torch.equal(found.node, other.node),
           'another seed gives the same nodes')


def check_range(subject: Drawn) -> None:
    r"""Nodes are ids, each is drawn at times, and the positives stay."""
    N, given = small_graph().num_nodes, triples(small_graph())
    copies = [x.clone() for x in given]
    subject.prepared().sample(*given, torch.Generator().manual_seed(0))
    expect(all(torch.equal(x, y) for x, y in zip(given, copies, strict=True)),
           'sample changes the positives')
    node, _ = subject.many()
    expect(0 <= int(node.min()) and int(node.max()) < N,
           f'expected nodes in [0, {N}), got {int(node.min())} to '
           f'{int(node.max())}')
    never = N - node.unique().numel()
    expect(never == 0, f'{never} of {N} nodes are never drawn')


def check_side(subject: Drawn) -> None:
    r"""The share of heads, relation by relation, is that of the rule."""
    data = small_graph()
    _, side = subject.many()
    expect(side.any() and not side.all(), 'only one side is corrupted')
    if subject.side is None:
        return
    R = data.num_relations
    wanted = torch.full((R, ), 0.5) if subject.side == 'uniform' else (
        head_probability(data.edge_index, data.edge_type, R))
    for r in range(R):
        row = side[:, data.edge_type == r].float().mean(-1)
        # Of a positive, all negatives may have one side.
        limit = 5 * 0.5 / row.numel() ** 0.5
        share = float(row.mean())
        expect(abs(share - float(wanted[r])) < limit,
               f'relation {r}: expected a share of {float(wanted[r]):.3f} '
               f'heads ({subject.side}), got {share:.3f}')


def check_known(subject: Drawn) -> None:
    r"""A sampler that leaves out known triples draws none."""
    if not subject.filtered:
        return
    head, rel, tail = triples(small_graph())
    known = set(zip(head.tolist(), rel.tolist(), tail.tolist(), strict=True))
    node, side = subject.many()
    heads = torch.where(side, node, head[:, None]).flatten().tolist()
    tails = torch.where(side, tail[:, None], node).flatten().tolist()
    rels = rel[:, None].expand_as(node).flatten().tolist()
    wrong = known & set(zip(heads, rels, tails, strict=True))
    expect(not wrong, f'draws training triples, such as {sorted(wrong)[:3]}')


def check_training(subject: Drawn) -> None:
    r"""A training is the same from the same seed; what a sampler learns
    changes in it, and its text tells its arguments.
    """
    data, runs = small_graph(), []
    for _ in range(2):
        torch.manual_seed(0)
        model = small_model(data)
        sampler = subject.build(model)
        trainer = _trainer(model, sampler)
        before = {} if sampler.module is None else state(sampler.module)
        trainer.fit()
        after = {} if sampler.module is None else state(sampler.module)
        still = [name for name, _ in ([] if sampler.module is None else
                                      sampler.module.named_parameters())
                 if name not in changed(before, after)]
        expect(not still, f'training does not change {", ".join(still)}')
        runs.append({**state(model), **after})
    expect(not changed(*runs), 'two trainings with the same seed differ in '
           f'{", ".join(changed(*runs))}')
    expect(f'num_negatives={sampler.num_negatives}' in repr(sampler),
           f'expected num_negatives in the text of the sampler, got {sampler}')


def check_refusal(subject: Drawn) -> None:
    r"""A model that has no modalities is trained, or refused clearly at
    construction.
    """
    data = small_graph()
    try:
        model = RotatE(data.num_nodes, data.num_relations, 4)
        trainer = _trainer(model, subject.build(model))
    except ModelError as error:
        expect(len(str(error)) > 20, f'refuses without a reason: {error}')
        return
    trainer.fit()


def _trainer(model: KGEModel, sampler: NegativeSampler) -> Trainer:
    return Trainer(model, small_graph(), sampler=sampler, batch_size=32,
                   epochs=2, lr=0.05, valid_every=None, progress=False)


def _parts(out: Negatives) -> dict[str, Tensor]:
    return {'nodes': out.node, 'sides': out.corrupt_head,
            **{f'masks of {name}': x for name, x in (out.kept or {}).items()}}


#: Every check of a sampler, by name.
SAMPLER_CHECKS: dict[str, Callable[[Drawn], None]] = named(
    check_shapes, check_devices, check_seeds, check_range, check_side,
    check_known, check_training, check_refusal)


def check_sampler(sampler: type[NegativeSampler], *,
                  checks: Sequence[str] = tuple(SAMPLER_CHECKS),
                  side: Optional[str] = None, filtered: bool = False,
                  devices: Sequence[str] = ('cpu', ), **kwargs: Any) -> None:
    r"""Checks that a negative sampler keeps the promises of
    :class:`~pyg_mmkgc.sampler.NegativeSampler`, on a graph of 24 nodes.

    .. code-block:: python

        check_sampler(MySampler, side='uniform', num_negatives=4)

    Args:
        sampler: A subclass of :class:`~pyg_mmkgc.sampler.NegativeSampler`.
        checks (list of str, optional): The names of the checks, see
            :obj:`SAMPLER_CHECKS`. (default: all)
        side (str, optional): How the side is drawn: :obj:`"uniform"` or
            :obj:`"bernoulli"`. (default: :obj:`None`, any way)
        filtered (bool, optional): If set to :obj:`True`, no training triple
            may be drawn. (default: :obj:`False`)
        devices (list of str, optional): Where positives may be.
            (default: :obj:`("cpu", )`)
        **kwargs (optional): Arguments of the class, or of its
            :meth:`from_data`, beside graph and model.

    Raises:
        AssertionError: With the name of the check that fails.
    """
    subject = Drawn(sampler, kwargs, side, filtered, devices)
    for name in checks:
        run_check(name, SAMPLER_CHECKS[name], subject)
