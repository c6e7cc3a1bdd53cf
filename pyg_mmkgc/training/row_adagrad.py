from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Optional

import torch
from torch.nn import Parameter
from torch.optim import Optimizer

from pyg_mmkgc.errors import check_positive
from pyg_mmkgc.kernels.rows import sum_rows


class RowAdagrad(Optimizer):
    r"""The row-wise `Adagrad <https://jmlr.org/papers/v12/duchi11a.html>`_
    optimizer of `PyTorch-BigGraph <https://arxiv.org/abs/1903.12287>`_, whose
    state is one number per row of a table. It takes a third of the memory of
    Adam for large embeddings.

    .. math::
        s_i \leftarrow s_i + \frac{1}{C} \| \mathbf{g}_i \|^2, \qquad
        \mathbf{x}_i \leftarrow \mathbf{x}_i - \frac{\eta}{\sqrt{s_i} +
        \epsilon} \, \mathbf{g}_i

    With sparse gradients, it updates only the rows that have a gradient, and
    dense gradients update all rows, with the same result. The state of a
    vector or a scalar is one number.

    .. code-block:: python

        model = AdaMF.from_data(kg, hidden_channels=200, sparse=True)
        Trainer(model, kg, sampler=PooledSampler(),
                optimizer=lambda params: RowAdagrad(params, lr=0.1))

    Args:
        params (iterable): The parameters, with dense or sparse gradients.
        lr (float, optional): The learning rate :math:`\eta`.
            (default: :obj:`0.1`)
        eps (float, optional): The term :math:`\epsilon` for stability.
            (default: :obj:`1e-10`)
    """
    def __init__(self, params: Iterable[Parameter], lr: float = 0.1,
                 eps: float = 1e-10) -> None:
        check_positive(lr=lr, eps=eps)
        super().__init__(params, {'lr': lr, 'eps': eps})

    @torch.no_grad()
    def step(self, closure: Optional[Callable[[], Any]] = None) -> Any:
        r"""Takes a step."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for p in group['params']:
                if p.grad is not None:
                    self._step(p, group['lr'], group['eps'])
        return loss

    def _step(self, p: Parameter, lr: float, eps: float) -> None:
        state, grad = self.state[p], p.grad
        assert grad is not None
        rows = p.size(0) if p.dim() > 1 else 1
        if not state:
            state['sum'] = p.new_zeros(rows)
        if not grad.is_sparse:
            flat = grad.reshape(rows, -1)
            state['sum'] += flat.square().mean(dim=1)
            scale = lr / (state['sum'].sqrt() + eps)
            p.sub_((scale.unsqueeze(-1) * flat).view_as(p))
            return
        grad = sum_rows(grad)
        index, values = grad._indices()[0], grad._values()
        state['sum'].index_add_(0, index, values.square().mean(dim=1))
        total = state['sum'][index]
        p.index_add_(0, index, values * (
            -lr / (total.sqrt() + eps)).unsqueeze(-1))
