r"""Optimizer steps that never apply non-finite gradients."""
from __future__ import annotations

import math
from collections.abc import Callable, Collection
from typing import Any, Optional

import torch
from torch import Tensor
from torch.nn import Embedding, Parameter
from torch.optim import Adam, Optimizer

from pyg_mmkgc.distributed.gradients import sum_gradients
from pyg_mmkgc.distributed.group import sum_over_ranks, world_size
from pyg_mmkgc.distributed.table import ShardedEmbedding, sharded_tables
from pyg_mmkgc.errors import ModelError, NonFiniteError
from pyg_mmkgc.kernels.rows import sum_rows
from pyg_mmkgc.training.row_adam import RowAdam


def adam(module: torch.nn.Module, params: list[Parameter],
         lr: float) -> Optimizer:
    r"""Returns an Adam optimizer. If an embedding has sparse gradients, it
    updates only the rows that have a gradient.
    """
    sparse = {id(m.weight) for m in module.modules()
              if isinstance(m, (Embedding, ShardedEmbedding)) and m.sparse}
    if sparse & {id(p) for p in params}:
        return RowAdam(params, lr=lr)
    return Adam(params, lr=lr, fused=True)


def learning_rate_factor(schedule: Optional[str], step: int,
                         num_steps: int) -> float:
    r"""Returns the factor of the learning rate at :obj:`step` of
    :obj:`num_steps`.
    """
    if schedule is None:
        return 1.0
    if schedule == 'linear':
        return 1.0 - step / num_steps
    if schedule == 'cosine':
        return 0.5 * (1.0 + math.cos(math.pi * step / num_steps))
    raise ModelError("Expected 'lr_schedule' to be None, 'linear' or 'cosine' "
                     f'(got {schedule!r})')


# The number of unsettled checks after which the host waits.
MOST_PENDING = 100


class FiniteChecks:
    r"""Checks that losses and gradients are finite.

    On the CPU, checks are made immediately. On a device, the host would have
    to wait for every check. Instead, the device skips all steps after the
    first value that is not finite, and :meth:`settle` reads all checks at
    once.
    """
    def __init__(self) -> None:
        self._pending: list[tuple[Tensor, Callable[[], str]]] = []

    def add(self, finite: Tensor, message: Callable[[], str]) -> None:
        r"""Adds the result :obj:`[]` of a check. :obj:`message` describes its
        failure.

        Raises:
            NonFiniteError: If the check failed on the CPU.
        """
        self._pending.append((finite, message))
        if finite.device.type == 'cpu' or len(self._pending) > MOST_PENDING:
            self.settle()

    def failed(self) -> Tensor:
        r"""Returns one on the device if a check has failed, and zero
        otherwise.
        """
        return 1.0 - self._all().float()

    def settle(self) -> None:
        r"""Waits for the checks.

        Raises:
            NonFiniteError: If a check failed.
        """
        if not self._pending:
            return
        finite, pending = self._all(), self._pending
        self._pending = []
        if not bool(finite):
            raise NonFiniteError(next(
                message() for finite, message in pending if not bool(finite)))

    def _all(self) -> Tensor:
        finite = [finite for finite, _ in self._pending]
        return finite[0] if len(finite) == 1 else torch.stack(finite).all()


def minimize(loss: Tensor, params: list[Parameter], optimizer: Optimizer,
             grad_clip: Optional[float], what: str, module: torch.nn.Module,
             checks: Optional[FiniteChecks] = None) -> Tensor:
    r"""Computes the gradients of :obj:`loss` with respect to :obj:`params`
    only, and takes an optimizer step. Returns the loss. In several processes,
    the losses and the gradients of all of them are added up.

    Args:
        loss (torch.Tensor): The loss :obj:`[]`.
        params (list[torch.nn.Parameter]): The parameters.
        optimizer (torch.optim.Optimizer): Their optimizer.
        grad_clip (float or None): The maximum norm of the gradient.
        what (str): The name of the loss in messages.
        module (torch.nn.Module): The module with the parameters.
        checks (FiniteChecks, optional): Collects the checks that the caller
            settles. (default: :obj:`None`, they are settled here)

    Raises:
        NonFiniteError: If the loss or a gradient is not finite. The message
            names :obj:`what` and the parameter, and no step is taken.
    """
    mine = FiniteChecks() if checks is None else checks
    out = differentiate(loss, params, what, module, mine)
    take_step(params, optimizer, grad_clip, what, module, mine)
    if checks is None:
        mine.settle()
    return out


def differentiate(loss: Tensor, params: list[Parameter], what: str,
                  module: torch.nn.Module, checks: FiniteChecks) -> Tensor:
    r"""Computes the gradients, which is the first half of :func:`minimize`."""
    def message() -> str:
        bad = _not_finite({
            name: x.to_local() if hasattr(x, 'to_local') else x
            for name, x in module.state_dict().items()})
        because = f', not finite: {", ".join(bad)}' if bad else ''
        return (f'Expected {what} to be finite (got {total.item()}{because}). '
                'No step was taken.')

    total = loss.detach()
    if world_size() > 1:
        total = sum_over_ranks(total.clone())
    for p in params:
        p.grad = None
    checks.add(torch.isfinite(total), message)
    loss.backward(inputs=params)
    for p in params:  # Nodes that occur twice in a batch have two sparse rows.
        if p.grad is not None and p.grad.is_sparse:
            p.grad = sum_rows(p.grad)
    if world_size() > 1:
        sum_gradients(params, sharded_tables(module))
    return total


def _not_finite(tensors: dict[str, Tensor]) -> list[str]:
    r"""Returns the names of the tensors that have a NaN or an infinity in any
    process.
    """
    names = [name for name, x in tensors.items() if x.is_floating_point()]
    bad = torch.tensor([not bool(tensors[name].isfinite().all())
                        for name in names], dtype=torch.float)
    if world_size() > 1 and names:
        bad = sum_over_ranks(bad.to(tensors[names[0]].device))
    return [name for name, count in zip(names, bad.tolist(), strict=True)
            if count > 0]


def take_step(params: list[Parameter], optimizer: Optimizer,
              grad_clip: Optional[float], what: str,
              module: torch.nn.Module, checks: FiniteChecks) -> None:
    r"""Takes an optimizer step if all gradients are finite, which is the
    second half of :func:`minimize`.
    """
    def message() -> str:
        names = {id(p): name for name, p in module.named_parameters()}
        bad = _not_finite({
            names.get(id(p), 'a parameter of the sampler'): _values(p.grad)
            for p in params if p.grad is not None})
        return (f'Expected the gradient of {what} to be finite (got '
                'non-finite values for '
                f'{", ".join(bad) or "the norm of all parameters"}). '
                'No step was taken.')

    grads = [_values(p.grad) for p in params if p.grad is not None]
    norm = (torch.nn.utils.get_total_norm(grads) if world_size() == 1 else
            _norm_over_ranks(params, sharded_tables(module)))
    checks.add(torch.isfinite(norm), message)
    if norm.device.type == 'cpu':
        if grad_clip is not None and float(norm) > grad_clip:
            for grad in grads:
                grad.mul_(grad_clip / float(norm))
        optimizer.step()
        return
    if grad_clip is not None:  # Without waiting for the norm.
        factor = (grad_clip / norm).clamp(max=1.0)
        for grad in grads:
            grad.mul_(factor)
    if not getattr(optimizer, '_step_supports_amp_scaling', False):
        checks.settle()
        optimizer.step()
        return
    # A fused optimizer skips the step on the device if a check has failed.
    optimizer.found_inf = checks.failed()  # type: ignore[attr-defined]
    try:
        optimizer.step()
    finally:
        del optimizer.found_inf  # type: ignore[attr-defined]


def _norm_over_ranks(params: list[Parameter],
                     sharded: Collection[int]) -> Tensor:
    r"""Returns the norm of the gradients of all processes. Rows of a sharded
    table count in one process, copies of other parameters once.
    """
    own, copies = (torch.nn.utils.get_total_norm([
        _values(p.grad) for p in params
        if p.grad is not None and (id(p) in sharded) == kind])
        for kind in (True, False))
    device = params[0].device  # A norm of no gradients is on the CPU.
    return (sum_over_ranks(own.double().square().to(device))
            + copies.double().square().to(device)).sqrt()


def _values(grad: Tensor) -> Tensor:
    return grad._values() if grad.is_sparse else grad


def multiplies_bfloat16(device: torch.device) -> bool:
    r"""Returns :obj:`True` if a device multiplies bfloat16 matrices in
    hardware, or if this cannot be determined.
    """
    if device.type == 'cuda':
        return torch.cuda.is_bf16_supported(including_emulation=False)
    ask = getattr(torch.cpu, 'get_capabilities', dict)
    has: dict[str, Any] = ask() if device.type == 'cpu' else {}
    if has.get('architecture') != 'x86_64':
        return True
    return bool(has.get('avx512_bf16') or has.get('amx_bf16'))
