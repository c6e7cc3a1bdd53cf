from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, Optional, Union

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Adam

from pyg_mmkgc.kernels.rows import adam_rows, sum_rows


class RowAdam(Adam):
    r"""The `Adam <https://arxiv.org/abs/1412.6980>`_ optimizer for dense and
    sparse gradients.

    Like :class:`torch.optim.SparseAdam`, it updates only the rows that have a
    gradient if gradients are sparse. The cost of a step on a large embedding
    then depends on the number of these rows, not on the number of nodes.

    Args:
        params (iterable): The parameters, with dense or sparse gradients.
        lr (float, optional): The learning rate. (default: :obj:`1e-3`)
    """
    def __init__(self, params: Iterable[Parameter], lr: float = 1e-3) -> None:
        super().__init__(params, lr=lr, fused=True)

    @torch.no_grad()
    def step(self, closure: Optional[Callable[[], Any]] = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        sparse = [(p, p.grad, group) for group in self.param_groups
                  for p in group['params']
                  if p.grad is not None and p.grad.is_sparse]
        for p, grad, group in sparse:
            self._step_rows(p, sum_rows(grad), group)
            p.grad = None
        super().step()
        for p, grad, _ in sparse:
            p.grad = grad
        return loss

    def _step_rows(self, p: Parameter, grad: Tensor,
                   group: dict[str, Any]) -> None:
        state = self.state[p]
        if not state:
            state['step'] = torch.zeros((), device=p.device)
            state['exp_avg'] = torch.zeros_like(p)
            state['exp_avg_sq'] = torch.zeros_like(p)
        beta1, beta2 = group['betas']
        size: Union[float, Tensor]
        skip: Optional[Tensor] = None
        if p.device.type == 'cpu':
            state['step'] += 1
            step = float(state['step'])
            size = group['lr'] * (1 - beta2**step)**0.5 / (1 - beta1**step)
        else:  # Without waiting for the number of steps.
            skip = getattr(self, 'found_inf', None)
            state['step'] += 1 if skip is None else 1 - skip
            # 1 - beta^step, where a difference would lose digits.
            first, second = (-torch.expm1(state['step'] * math.log(beta))
                             for beta in (beta1, beta2))
            size = group['lr'] * second.sqrt() / first
        adam_rows(grad._indices()[0], grad._values(), p, state['exp_avg'],
                  state['exp_avg_sq'], (beta1, beta2), group['eps'], size,
                  skip)
