from __future__ import annotations

import math
from typing import Any, Optional

import torch
from torch import Tensor
from torch.nn import Linear, ModuleDict, Parameter

from pyg_mmkgc.errors import ModelError

MISSING = ('random', 'zeros', 'mean', 'learned', 'drop')


class ModalityEncoder(torch.nn.Module):
    r"""Looks up the feature row of a node and projects it, eqs. (2) and (3)
    of `AdaMF-MAT <https://arxiv.org/abs/2402.15444>`_:
    :math:`\mathbf{e}_m = \mathbf{W}_m \mathbf{f}_m + \mathbf{b}_m`.

    A node may have several feature rows: :obj:`I` images, say. They are
    projected one by one and averaged, with the weights of
    :func:`attention_weights` where there is a query.

    Args:
        x (torch.Tensor): The features :obj:`[N, F]` or :obj:`[N, I, F]`, kept
            in their own floating point type and frozen.
        out_channels (int): The width :obj:`C` of the embedding.
        mask (torch.Tensor, optional): :obj:`True` where a node has the
            modality, :obj:`[N]`, or has the :obj:`i`-th row, :obj:`[N, I]`.
            (default: :obj:`None`, all have it)
        missing (str, optional): What stands for a missing row.
            :obj:`"random"`: a feature row drawn once, from a normal
            distribution with the mean and the standard deviation of the
            present ones, channel by channel (the paper, section 4.3, says
            "randomly initialized"); :obj:`"zeros"`: a feature row of zeros;
            :obj:`"mean"`: the mean of the present feature rows;
            :obj:`"learned"`: one trained embedding for all; :obj:`"drop"`: an
            embedding of zeros, which
            :class:`~pyg_mmkgc.nn.fusion.AdaptiveFusion` leaves out of its
            softmax. (default: :obj:`"random"`)
        trainable_features (bool, optional): If set to :obj:`True`, the
            features are trained along, as the released code does.
            (default: :obj:`False`)
        bias (bool, optional): If set to :obj:`False`, there is no
            :math:`\mathbf{b}_m`. (default: :obj:`True`)
    """
    x: Tensor
    mask: Tensor

    def __init__(self, x: Tensor, out_channels: int,
                 mask: Optional[Tensor] = None, missing: str = 'random',
                 trainable_features: bool = False, bias: bool = True) -> None:
        super().__init__()
        if missing not in MISSING:
            raise ModelError(f'expected missing to be one of {MISSING}, got '
                             f'{missing!r}')
        if x.dim() not in (2, 3) or not x.is_floating_point():
            raise ModelError('expected features of shape [N, F] or [N, I, F] '
                             f'in floating point, got {list(x.shape)} of '
                             f'{x.dtype}')
        if mask is None:
            mask = x.new_ones(x.size(0), dtype=torch.bool)
        if (mask.shape not in (x.shape[:1], x.shape[:-1])
                or mask.dtype != torch.bool):
            raise ModelError(f'expected a mask of shape {list(x.shape[:-1])} '
                             f'and type torch.bool, got {list(mask.shape)} of '
                             f'{mask.dtype}')
        if mask.dim() < x.dim() - 1:
            mask = mask.unsqueeze(-1).expand(x.shape[:-1]).contiguous()
        self.missing = missing
        self.complete = bool(mask.all())
        self.lin = Linear(x.size(-1), out_channels, bias)
        self.register_buffer('mask', mask)
        x = x.detach()
        if trainable_features:
            self.x = Parameter(x.float().clone())
        elif self.complete:
            # Never written to: the graph's own, perhaps mapped from a file,
            # and no part of a checkpoint.
            self.register_buffer('x', x, persistent=False)
        else:  # Its missing rows are filled, the graph keeps them.
            self.register_buffer('x', x.clone())
        self.fill: Optional[Parameter] = None
        if missing == 'learned' and not self.complete:
            self.fill = Parameter(x.new_empty(out_channels).float())
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        r"""Resets all learnable parameters but trainable feature rows, and
        draws missing rows anew.
        """
        self.lin.reset_parameters()
        if self.complete:
            return
        if self.fill is not None:
            bound = self.lin.weight.size(1) ** -0.5
            torch.nn.init.uniform_(self.fill, -bound, bound)
        present = self.x[self.mask].float()
        rows = present.new_zeros(int((~self.mask).sum()), self.x.size(-1))
        if self.missing in ('random', 'mean') and present.size(0) > 0:
            rows += present.mean(dim=0)
        if self.missing == 'random':
            std = (present.std(dim=0) if present.size(0) > 1 else
                   torch.ones_like(rows[0]))
            rows += std * torch.randn_like(rows)
        self.x[~self.mask] = rows.to(self.x.dtype)

    def forward(self, index: Tensor, query: Optional[Tensor] = None) -> Tensor:
        r"""The embeddings :obj:`[*, C]` of nodes :obj:`[*]`.

        Args:
            index (torch.Tensor): The nodes, :obj:`[*]`.
            query (torch.Tensor, optional): What attends to the rows of a node
                that has several, :obj:`[*, C]`.
                (default: :obj:`None`, they count alike)
        """
        dtype = self.lin.weight.dtype
        # Under autocast the product is in half precision, what follows not.
        out = self.lin(_rows(self.x, index).to(dtype)).to(dtype)
        mask = _rows(self.mask, index)
        if self.fill is not None:
            out = torch.where(mask.unsqueeze(-1), out, self.fill)
        elif self.missing == 'drop' and not self.complete:
            out = out.masked_fill(~mask.unsqueeze(-1), 0.0)
        if self.x.dim() == 2:
            return out
        weight = attention_weights(out, mask, query)
        return (weight.unsqueeze(-1) * out).sum(dim=-2)

    def extra_repr(self) -> str:
        return f'{self.x.size(0)} rows, missing={self.missing!r}'


def _rows(x: Tensor, index: Tensor) -> Tensor:
    # Unlike x[index], refuses negative ones.
    return x.index_select(0, index.reshape(-1)).view(index.shape + x.shape[1:])


def have_features(encoders: ModuleDict) -> Tensor:
    r"""Which nodes have a feature row of any of the modalities,
    :obj:`[N]`.
    """
    masks = [encoder.get_buffer('mask') for encoder in encoders.values()]
    return torch.stack([x.view(x.size(0), -1).any(dim=1)
                        for x in masks]).any(dim=0)


def attention_weights(x: Tensor, mask: Tensor,
                      query: Optional[Tensor] = None) -> Tensor:
    r"""The attention of `IKRL <https://arxiv.org/abs/1609.07028>`_ over the
    images of an entity (its eq. (4)).

    .. math::
        a_i = \frac{\exp(\mathbf{p}_i \cdot \mathbf{e}_S)}
        {\sum_j \exp(\mathbf{p}_j \cdot \mathbf{e}_S)}

    Args:
        x (torch.Tensor): The projected rows :math:`\mathbf{p}_i`,
            :obj:`[*, I, C]`.
        mask (torch.Tensor): The rows that are there, :obj:`[*, I]`. Where
            there is none, all count: they are what stands for it.
        query (torch.Tensor, optional): The structural embeddings
            :math:`\mathbf{e}_S`, :obj:`[*, C]`.
            (default: :obj:`None`, equal weights)
    """
    logit = (x.new_zeros(()).expand(mask.shape) if query is None else
             (x * query.unsqueeze(-2)).sum(dim=-1))
    absent = ~mask & mask.any(dim=-1, keepdim=True)
    return logit.masked_fill(absent, -math.inf).softmax(dim=-1)


def check_modalities(modalities: dict[str, Tensor], num_nodes: int) -> None:
    r"""Raises :class:`~pyg_mmkgc.errors.ModelError` where a modality has a
    name that a view cannot have, or not one row per node.
    """
    for name, x in modalities.items():
        # Parts of a model are named by modality, beside torch's own names.
        if (name in ('', 'structure', 'training') or '.' in name
                or hasattr(ModuleDict, name)):
            raise ModelError('expected a modality name that is not empty, not '
                             "'structure', without dots and no attribute of "
                             f'torch.nn.ModuleDict, got {name!r}')
        if x.dim() not in (2, 3) or x.size(0) != num_nodes:
            raise ModelError(f'expected features of {name!r} with shape '
                             f'[{num_nodes}, F] or [{num_nodes}, I, F], got '
                             f'{list(x.shape)}')


def make_encoders(modalities: Optional[dict[str, Tensor]],
                  masks: Optional[dict[str, Tensor]], out_channels: int,
                  **kwargs: Any) -> ModuleDict:
    r"""Builds a :class:`ModalityEncoder` for each modality, with its mask and
    further arguments.

    Raises:
        ModelError: If a mask belongs to no modality.
    """
    modalities, masks = modalities or {}, masks or {}
    if not set(masks) <= set(modalities):
        raise ModelError(f'expected masks of {list(modalities)}, got '
                         f'{list(masks)}')
    return ModuleDict({
        name: ModalityEncoder(x, out_channels, masks.get(name), **kwargs)
        for name, x in modalities.items()})
