r"""How all nodes are scored for a query, by what a model can do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module

from pyg_mmkgc.data import KnowledgeGraph
from pyg_mmkgc.errors import ModelError
from pyg_mmkgc.evaluation.closed_form import ClosedForm, closed_form
from pyg_mmkgc.nn.functional import BLOCK, inner_products
from pyg_mmkgc.nn.kernel import dense_distance

# (node [Q], rel_type [Q], side) -> scores [Q, N] of all nodes on that side.
Scorer = Callable[[Tensor, Tensor, str], Tensor]


@contextmanager
def scoring(model: Module, kg: KnowledgeGraph) -> Iterator[Scorer]:
    r"""Readies a model to score all nodes of a graph.

    Inside, the model is in evaluation mode, without gradients and in full
    single precision: TF32, bfloat16 and autocast move near-equal scores past
    each other, which a rank sees. All of it is put back at the end.

    Yields a function from nodes :math:`[Q]`, relations :math:`[Q]` and the
    side to predict (:obj:`"head"` or :obj:`"tail"`) to scores
    :math:`[Q, N]`. It takes the first that fits of

    * :obj:`encode()`, :obj:`score_tails()` and :obj:`score_heads()`, as
      :class:`~pyg_mmkgc.nn.kge.MMKGEModel` has them; the nodes are encoded
      once,
    * a closed form, for :pyg:`PyG`'s models whose :meth:`forward` is the one
      that :pyg:`PyG` wrote,
    * :meth:`forward` over blocks of all pairs, for any other model.
    """
    _check_sizes(model, kg)
    modes = {module: module.training for module in model.modules()}
    with ExitStack() as stack:
        stack.callback(_restore, modes)
        model.eval()
        stack.enter_context(torch.no_grad())
        stack.enter_context(_full_precision())
        stack.enter_context(
            torch.autocast(device_of(model).type, enabled=False))
        yield _checked(_make_scorer(model, kg.num_nodes), kg.num_nodes, model)


def device_of(model: Module) -> torch.device:
    r"""The device of a model's parameters, or of its buffers."""
    if not isinstance(model, Module):
        raise ModelError(f"Expected a 'torch.nn.Module' as model (got "
                         f"'{type(model).__name__}')")
    for tensors in (model.parameters(), model.buffers()):
        for tensor in tensors:
            return tensor.device
    return torch.device('cpu')


def _restore(modes: dict[Module, bool]) -> None:
    for module, training in modes.items():
        module.training = training


def _check_sizes(model: Module, kg: KnowledgeGraph) -> None:
    num_nodes = getattr(model, 'num_nodes', kg.num_nodes)
    if num_nodes != kg.num_nodes:
        raise ModelError(f"'{type(model).__name__}' has {num_nodes} nodes, "
                         f'but the graph has {kg.num_nodes}')
    # More is fine: a model may have an inverse of every relation.
    num_relations = getattr(model, 'num_relations', kg.num_relations)
    if num_relations < kg.num_relations:
        raise ModelError(f"'{type(model).__name__}' has {num_relations} "
                         f'relations, but the graph has {kg.num_relations}')


@contextmanager
def _full_precision() -> Iterator[None]:
    backends: list[Any] = [
        torch.backends.cuda.matmul,
        torch.backends.mkldnn.matmul,  # type: ignore[attr-defined]
    ]
    before = [backend.fp32_precision for backend in backends]
    try:
        for backend in backends:
            backend.fp32_precision = 'ieee'
        yield
    finally:
        for backend, precision in zip(backends, before, strict=True):
            backend.fp32_precision = precision


def _checked(scorer: Scorer, num_nodes: int, model: Module) -> Scorer:
    def checked(node: Tensor, rel_type: Tensor, side: str) -> Tensor:
        scores = scorer(node, rel_type, side)
        if scores.shape != (node.numel(), num_nodes):
            raise ModelError(
                f"Expected scores of shape [{node.numel()}, {num_nodes}] for "
                f"{side}s from '{type(model).__name__}' (got "
                f'{list(scores.shape)})')
        return scores.to(torch.float32)

    return checked


def _make_scorer(model: Module, num_nodes: int) -> Scorer:
    if all(
            callable(getattr(model, name, None))
            for name in ('encode', 'score_tails', 'score_heads')):
        return _encoded(model)
    form = closed_form(model)
    if form is not None:
        return _closed(form, torch.arange(num_nodes, device=device_of(model)))
    return _pairwise(model, num_nodes)


def _encoded(model: Any) -> Scorer:
    table = model.encode()

    def score(node: Tensor, rel_type: Tensor, side: str) -> Tensor:
        if side == 'tail':
            return model.score_tails(node, rel_type, table=table)
        return model.score_heads(rel_type, node, table=table)

    return score


def _pairwise(model: Module, num_nodes: int) -> Scorer:
    # The largest tensor of a `forward` is taken to be four times [P, C].
    channels = max(1, int(getattr(model, 'hidden_channels', 256)))
    step = max(1, BLOCK // (4 * channels))

    def score(node: Tensor, rel_type: Tensor, side: str) -> Tensor:
        num_pairs, out = node.numel() * num_nodes, []
        for start in range(0, num_pairs, step):
            pair = torch.arange(start, min(start + step, num_pairs),
                                device=node.device)
            row = torch.div(pair, num_nodes, rounding_mode='floor')
            given, other, rel = node[row], pair % num_nodes, rel_type[row]
            out.append(model(given, rel, other) if side == 'tail' else
                       model(other, rel, given))
        scores = torch.cat([part.reshape(-1) for part in out])
        if scores.numel() != num_pairs:
            raise ModelError(
                f"Expected one score a triple from 'forward' of "
                f"'{type(model).__name__}' (got {scores.numel()} for "
                f'{num_pairs})')
        return scores.view(-1, num_nodes)

    return score


def _closed(form: ClosedForm, nodes: Tensor) -> Scorer:
    table = form.rows(nodes)

    def score(node: Tensor, rel_type: Tensor, side: str) -> Tensor:
        query = form.query(table[node], rel_type, side)
        if form.p is None:
            return inner_products(query, table)
        if form.p == 2:
            return form.margin - _euclidean(query, table)
        if form.p == 1:
            return form.margin - dense_distance(query, table, group=1)
        return form.margin - torch.cdist(query, table, p=form.p)

    return score


def _euclidean(query: Tensor, table: Tensor) -> Tensor:
    # Double precision inside, for the reasons of `inner_products`, and since
    # |a|^2 + |b|^2 - 2 a b cancels where a and b are close. It is still ten
    # times faster than `cdist`. (Apple's GPUs have none.)
    wide = query if query.device.type == 'mps' else query.double()
    out = query.new_empty(query.size(0), table.size(0), dtype=torch.float32)
    step = max(1, BLOCK // max(1, *query.shape))
    for start in range(0, table.size(0), step):
        rows = table[start:start + step].to(wide.dtype)
        square = torch.addmm((rows * rows).sum(1), wide, rows.t(), alpha=-2)
        square += (wide * wide).sum(1, keepdim=True)
        out[:, start:start + step] = square.clamp_(min=0).sqrt_()
    return out
