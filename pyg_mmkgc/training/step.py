r"""Optimizer steps that never apply non-finite gradients."""
from __future__ import annotations

import math
from typing import Any, Optional

import torch
from torch import Tensor
from torch.nn import Embedding, Parameter
from torch.optim import Adam, Optimizer

from pyg_mmkgc.errors import ModelError, NonFiniteError
from pyg_mmkgc.training.row_adam import RowAdam


def adam(module: torch.nn.Module, params: list[Parameter],
         lr: float) -> Optimizer:
    r"""Returns an Adam optimizer. If an embedding has sparse gradients, it
    updates only the rows that have a gradient.
    """
    sparse = {id(m.weight) for m in module.modules()
              if isinstance(m, Embedding) and m.sparse}
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


def minimize(loss: Tensor, params: list[Parameter], optimizer: Optimizer,
             grad_clip: Optional[float], what: str,
             module: torch.nn.Module) -> None:
    r"""Computes the gradients of :obj:`loss` with respect to :obj:`params`
    only, and takes an optimizer step.

    Raises:
        NonFiniteError: If the loss or a gradient is not finite. The message
            names :obj:`what` and the parameter, and no step is taken.
    """
    differentiate(loss, params, what, module)
    take_step(params, optimizer, grad_clip, what, module)


def differentiate(loss: Tensor, params: list[Parameter], what: str,
                  module: torch.nn.Module) -> None:
    r"""Computes the gradients, which is the first half of :func:`minimize`."""
    for p in params:
        p.grad = None
    if not bool(torch.isfinite(loss)):
        bad = [name for name, x in module.state_dict().items()
               if x.is_floating_point() and not bool(x.isfinite().all())]
        because = f', not finite: {", ".join(bad)}' if bad else ''
        raise NonFiniteError(f'Expected {what} to be finite (got '
                             f'{loss.item()}{because}). No step was taken.')
    loss.backward(inputs=params)
    for p in params:  # Nodes that occur twice in a batch have two sparse rows.
        if p.grad is not None and p.grad.is_sparse:
            p.grad = p.grad.coalesce()


def take_step(params: list[Parameter], optimizer: Optimizer,
              grad_clip: Optional[float], what: str,
              module: torch.nn.Module) -> None:
    r"""Takes an optimizer step if all gradients are finite, which is the
    second half of :func:`minimize`.
    """
    grads = [_values(p.grad) for p in params if p.grad is not None]
    norm = torch.nn.utils.get_total_norm(grads)
    if not bool(torch.isfinite(norm)):
        names = {id(p): name for name, p in module.named_parameters()}
        bad = [names.get(id(p), 'a parameter of the sampler') for p in params
               if p.grad is not None
               and not bool(torch.isfinite(_values(p.grad)).all())]
        raise NonFiniteError(
            f'Expected the gradient of {what} to be finite (got non-finite '
            f'values for {", ".join(bad) or "the norm of all parameters"}). '
            'No step was taken.')
    if grad_clip is not None and float(norm) > grad_clip:
        for grad in grads:
            grad.mul_(grad_clip / float(norm))
    optimizer.step()


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
