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
    r"""The sampler to check, and its expected properties."""
    target: type[NegativeSampler]
    kwargs: dict[str, Any]
    side: Optional[str]
    filtered: bool
    devices: Sequence[str]

    def build(self, model: KGEModel) -> NegativeSampler:
        r"""Builds a sampler for the small graph and its model."""
        build = getattr(self.target, 'from_data', None)
        out = (self.target(**self.kwargs) if build is None else
               build(small_graph(), model, **self.kwargs))
        expect(isinstance(out, NegativeSampler), 'Expected a '
               f"'NegativeSampler' (got '{type(out).__name__}')")
        return out

    def prepared(self, device: str = 'cpu') -> NegativeSampler:
        r"""Builds a sampler, and prepares it as a trainer does."""
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
        r"""Draws negatives of the first positives from a new sampler."""
        head, rel, tail = (x[:size].to(device)
                           for x in triples(small_graph()))
        return self.prepared(device).sample(
            head, rel, tail, torch.Generator().manual_seed(seed))

    def many(self) -> tuple[Tensor, Tensor]:
        r"""Returns the nodes and the sides of many draws,
        :obj:`[DRAWS, B, K]`.
        """
        sampler, generator = self.prepared(), torch.Generator().manual_seed(0)
        found = [sampler.sample(*triples(small_graph()), generator)
                 for _ in range(DRAWS)]
        return (torch.stack([x.node for x in found]),
                torch.stack([x.corrupt_head for x in found]))


def small_model(data: KnowledgeGraph) -> AdaMF:
    r"""Returns a model with a structure and two modalities."""
    return AdaMF.from_data(data, 4, margin=3.0)


def check_shapes(subject: Drawn) -> None:
    r"""Checks that nodes, sides and masks have shape :obj:`[B, K]`, including
    for a single positive.
    """
    asked = subject.prepared().num_negatives
    for size in (1, 7):
        out = subject.draw(size=size)
        K = out.node.size(-1)
        expect(out.node.shape == (size, K) and K > 0 and K % asked == 0,
               f'Expected nodes of shape [{size}, {asked}] or a multiple '
               f'(got {list(out.node.shape)})')
        expect(out.node.dtype == torch.long,
               f'Expected nodes of torch.int64 (got {out.node.dtype})')
        masks = {'corrupt_head': out.corrupt_head, **(out.kept or {})}
        for name, mask in masks.items():
            expect(mask.shape == (size, K) and mask.dtype == torch.bool,
                   f"Expected '{name}' of shape [{size}, {K}] and torch.bool "
                   f'(got {list(mask.shape)} and {mask.dtype})')
        unknown = set(out.kept or {}) - {'structure', 'visual', 'text'}
        expect(not unknown, "Expected only views of the model in 'kept' (got "
               f'{unknown})')
        if out.choice is not None:
            chosen = out.choice.candidates[out.choice.picks]
            expect(torch.equal(chosen, out.node),
                   "Expected the nodes of the picks in 'choice' (got other "
                   'nodes)')


def check_devices(subject: Drawn) -> None:
    r"""Checks that negatives are on the device of the positives."""
    for device in subject.devices:
        out = subject.draw(device=device)
        for name, x in (('nodes', out.node), ('sides', out.corrupt_head),
                        *(out.kept or {}).items()):
            expect(x.device.type == torch.device(device).type,
                   f'Expected {name} on {device} (got {x.device})')


def check_seeds(subject: Drawn) -> None:
    r"""Checks that all random numbers come from the generator."""
    sampler = subject.prepared()
    before = torch.get_rng_state()
    found = sampler.sample(*triples(small_graph()),
                           torch.Generator().manual_seed(0))
    expect(torch.equal(before, torch.get_rng_state()),
           'Expected sample to keep the global random state (got another '
           'state)')
    same, other = subject.draw(), subject.draw(seed=1)
    for name, x in _parts(found).items():
        expect(torch.equal(x, _parts(same)[name]),
               f'Expected equal {name} with the same seed (got different '
               'values)')
    expect(not torch.equal(found.node, other.node),
           'Expected different nodes for different seeds (got the same)')


def check_range(subject: Drawn) -> None:
    r"""Checks that all nodes are drawn and in range, and that the positives
    are not modified.
    """
    N, given = small_graph().num_nodes, triples(small_graph())
    copies = [x.clone() for x in given]
    subject.prepared().sample(*given, torch.Generator().manual_seed(0))
    expect(all(torch.equal(x, y) for x, y in zip(given, copies, strict=True)),
           'Expected sample to keep the positives (got changes)')
    node, _ = subject.many()
    expect(0 <= int(node.min()) and int(node.max()) < N,
           f'Expected nodes in [0, {N}) (got {int(node.min())} to '
           f'{int(node.max())})')
    never = N - node.unique().numel()
    expect(never == 0,
           f'Expected all {N} nodes to be drawn (got {never} never drawn)')


def check_side(subject: Drawn) -> None:
    r"""Checks that the share of corrupted heads follows the rule for each
    relation.
    """
    data = small_graph()
    _, side = subject.many()
    expect(side.any() and not side.all(), 'Expected both sides to be '
           'corrupted (got only one)')
    if subject.side is None:
        return
    R = data.num_relations
    wanted = torch.full((R, ), 0.5) if subject.side == 'uniform' else (
        head_probability(data.edge_index, data.edge_type, R))
    for r in range(R):
        row = side[:, data.edge_type == r].float().mean(-1)
        # All negatives of a positive may share a side.
        limit = 5 * 0.5 / row.numel() ** 0.5
        share = float(row.mean())
        expect(abs(share - float(wanted[r])) < limit,
               f'Expected a share of {float(wanted[r]):.3f} heads for '
               f'relation {r} with {subject.side!r} sides (got {share:.3f})')


def check_known(subject: Drawn) -> None:
    r"""Checks that a filtered sampler draws no training triple."""
    if not subject.filtered:
        return
    head, rel, tail = triples(small_graph())
    known = set(zip(head.tolist(), rel.tolist(), tail.tolist(), strict=True))
    node, side = subject.many()
    heads = torch.where(side, node, head[:, None]).flatten().tolist()
    tails = torch.where(side, tail[:, None], node).flatten().tolist()
    rels = rel[:, None].expand_as(node).flatten().tolist()
    wrong = known & set(zip(heads, rels, tails, strict=True))
    expect(not wrong, 'Expected no training triples among the negatives (got '
           f'{sorted(wrong)[:3]})')


def check_training(subject: Drawn) -> None:
    r"""Checks that trainings with the same seed are equal, that all parameters
    of a sampler learn, and that its representation shows its arguments.
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
        expect(not still, f'Expected training to change {", ".join(still)} '
               '(got no change)')
        runs.append({**state(model), **after})
    expect(not changed(*runs), 'Expected equal trainings with the same seed '
           f'(got different {", ".join(changed(*runs))})')
    expect(f'num_negatives={sampler.num_negatives}' in repr(sampler),
           f"Expected 'num_negatives' in the representation (got {sampler})")


def check_refusal(subject: Drawn) -> None:
    r"""Checks that a model without modalities either can be trained, or is
    rejected with a clear error at construction.
    """
    data = small_graph()
    try:
        model = RotatE(data.num_nodes, data.num_relations, 4)
        trainer = _trainer(model, subject.build(model))
    except ModelError as error:
        expect(len(str(error)) > 20, 'Expected a ModelError with a reason '
               f"(got '{error}')")
        return
    trainer.fit()


def _trainer(model: KGEModel, sampler: NegativeSampler) -> Trainer:
    return Trainer(model, small_graph(), sampler=sampler, batch_size=32,
                   epochs=2, lr=0.05, valid_every=None, progress=False)


def _parts(out: Negatives) -> dict[str, Tensor]:
    return {'nodes': out.node, 'sides': out.corrupt_head,
            **{f'masks of {name}': x for name, x in (out.kept or {}).items()}}


#: All checks of a sampler by name.
SAMPLER_CHECKS: dict[str, Callable[[Drawn], None]] = named(
    check_shapes, check_devices, check_seeds, check_range, check_side,
    check_known, check_training, check_refusal)


def check_sampler(sampler: type[NegativeSampler], *,
                  checks: Sequence[str] = tuple(SAMPLER_CHECKS),
                  side: Optional[str] = None, filtered: bool = False,
                  devices: Sequence[str] = ('cpu', ), **kwargs: Any) -> None:
    r"""Checks that a negative sampler fulfills the contract of
    :class:`~pyg_mmkgc.sampler.NegativeSampler`, on a graph of 24 nodes.

    .. code-block:: python

        check_sampler(MySampler, side='uniform', num_negatives=4)

    Args:
        sampler: A subclass of :class:`~pyg_mmkgc.sampler.NegativeSampler`.
        checks (list[str], optional): The names of the checks, see
            :obj:`SAMPLER_CHECKS`. (default: all)
        side (str, optional): The expected distribution of the side, either
            :obj:`"uniform"` or :obj:`"bernoulli"`. If set to :obj:`None`, any
            distribution passes. (default: :obj:`None`)
        filtered (bool, optional): If set to :obj:`True`, the sampler must not
            draw training triples. (default: :obj:`False`)
        devices (list[str], optional): The devices to draw negatives on.
            (default: :obj:`("cpu", )`)
        **kwargs (optional): Additional arguments of the class, or of its
            :obj:`from_data` in addition to the graph and the model.

    Raises:
        AssertionError: If a check fails. The message starts with its name.
    """
    subject = Drawn(sampler, kwargs, side, filtered, devices)
    for name in checks:
        run_check(name, SAMPLER_CHECKS[name], subject)
