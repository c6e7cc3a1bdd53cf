from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from typing import Any, Optional

import torch
from torch import Tensor
from torch.nn import Linear, ModuleDict, Parameter

from pyg_mmkgc.errors import ModelError, check_whole
from pyg_mmkgc.kernels.host import rows_of

MISSING = ('random', 'zeros', 'mean', 'learned', 'drop')
ON_HOST = ('x', 'stand_in', 'place')  # Where the features are.
BLOCK = 2 ** 15  # Rows that are read or drawn at once.


class ModalityEncoder(torch.nn.Module):
    r"""Looks up the feature row of a node and projects it, as in eqs. (2) and
    (3) of `AdaMF-MAT <https://arxiv.org/abs/2402.15444>`_:
    :math:`\mathbf{e}_m = \mathbf{W}_m \mathbf{f}_m + \mathbf{b}_m`.

    With a hidden width, two layers with a ReLU in between replace the
    projection, :math:`\mathbf{e}_m = \mathbf{W}_m \max(0, \mathbf{V}_m
    \mathbf{f}_m + \mathbf{c}_m) + \mathbf{b}_m`, such that an embedding can
    depend on the set of numbers that are known for a node.

    A node may have several feature rows, for example :obj:`I` images. They
    are projected one by one and averaged. If a query is given,
    :func:`attention_weights` computes the weights of the average.

    Args:
        x (torch.Tensor): The features :obj:`[N, F]` or :obj:`[N, I, F]`.
            Unless they are trained, they keep their floating-point type, and
            are neither copied nor changed, such that they may be mapped from
            a file.
        out_channels (int): The width :obj:`C` of the embedding.
        mask (torch.Tensor, optional): :obj:`True` where a node has the
            modality, :obj:`[N]`, or has the :obj:`i`-th row, :obj:`[N, I]`.
            (default: :obj:`None`, every node has every row)
        missing (str, optional): The policy for missing rows.
            :obj:`"random"` draws a feature row once, from a normal
            distribution with the mean and the standard deviation of the
            present rows in each channel (section 4.3 of the paper says
            "randomly initialized"). :obj:`"zeros"` uses a feature row of
            zeros, :obj:`"mean"` the mean of the present feature rows, and
            :obj:`"learned"` one trained embedding for all missing rows.
            :obj:`"drop"` uses an embedding of zeros, which
            :class:`~pyg_mmkgc.nn.fusion.AdaptiveFusion` leaves out of its
            softmax. (default: :obj:`"random"`)
        trainable_features (bool, optional): If set to :obj:`True`, the
            features are trained as well, as in the released code.
            (default: :obj:`False`)
        bias (bool, optional): If set to :obj:`False`, the projection has no
            bias :math:`\mathbf{b}_m`. (default: :obj:`True`)
        hidden_channels (int, optional): The hidden width of a projection with
            two layers. (default: :obj:`None`, one layer)

    Raises:
        ModelError: If :obj:`missing` is unknown, or the features or the mask
            have a wrong shape or type.
    """
    x: Tensor
    mask: Tensor
    stand_in: Optional[Tensor]
    place: Optional[Tensor]

    def __init__(self, x: Tensor, out_channels: int,
                 mask: Optional[Tensor] = None, missing: str = 'random',
                 trainable_features: bool = False, bias: bool = True,
                 hidden_channels: Optional[int] = None) -> None:
        super().__init__()
        check_whole(optional=True, hidden_channels=hidden_channels)
        if missing not in MISSING:
            raise ModelError("Expected 'missing' to be one of "
                             f"{', '.join(map(repr, MISSING))} (got "
                             f'{missing!r})')
        if x.dim() not in (2, 3) or not x.is_floating_point():
            raise ModelError("Expected 'x' to have shape [N, F] or [N, I, F] "
                             'and a floating-point type (got '
                             f'{list(x.shape)} of {x.dtype})')
        if mask is None:
            mask = x.new_ones(x.size(0), dtype=torch.bool)
        if (mask.shape not in (x.shape[:1], x.shape[:-1])
                or mask.dtype != torch.bool):
            raise ModelError("Expected 'mask' to have shape "
                             f'{list(x.shape[:-1])} and type torch.bool (got '
                             f'{list(mask.shape)} of {mask.dtype})')
        if mask.dim() < x.dim() - 1:
            mask = mask.unsqueeze(-1).expand(x.shape[:-1]).contiguous()
        self.missing, self.trained = missing, trainable_features
        #: If :obj:`True`, moving the module to a device leaves the features
        #: on the host.
        self.on_host = False
        self.complete = bool(mask.all())
        self.hidden = (None if hidden_channels is None else
                       Linear(x.size(-1), hidden_channels))
        self.lin = Linear(hidden_channels or x.size(-1), out_channels, bias)
        # Loading a state must not change the mask of the graph.
        self.register_buffer('mask', mask.clone())
        x = x.detach()
        if trainable_features:
            self.x = Parameter(x.float().clone())
        else:  # The tensor of the graph is not part of checkpoints.
            self.register_buffer('x', x, persistent=False)
        # The features that replace missing rows, unless they are zeros: a row
        # for each of them if they are drawn, or one row for all. The place of
        # a missing row is its position in this table.
        drawn = missing == 'random'
        apart = (drawn or missing == 'mean') and not (
            self.complete or trainable_features)
        self.register_buffer('stand_in', x.new_zeros(
            int((~mask).sum()) if drawn else 1, x.size(-1)) if apart else None)
        self.register_buffer('place', _places(mask, drawn) if apart else None,
                             persistent=False)
        self.fill: Optional[Parameter] = None
        if missing == 'learned' and not self.complete:
            self.fill = Parameter(x.new_empty(out_channels).float())
        self.reset_parameters()

    def _apply(self, *args: Any, **kwargs: Any) -> ModalityEncoder:
        kept = {name: self._buffers.pop(name) for name in ON_HOST
                } if self.on_host else {}
        super()._apply(*args, **kwargs)
        self._buffers.update(kept)
        return self

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str,
                              local_metadata: dict[str, Any], strict: bool,
                              missing_keys: list[str],
                              unexpected_keys: list[str],
                              error_msgs: list[str]) -> None:
        # The features are in saved models, and with filled rows in the states
        # of version 0.1. A state that is not assigned keeps the graph's.
        x, mask = (state_dict.get(prefix + name) for name in ('x', 'mask'))
        if ('x' not in self._non_persistent_buffers_set
                or not isinstance(x, Tensor) or x.shape != self.x.shape):
            x = None
        if x is not None:
            state_dict = {name: value for name, value in state_dict.items()
                          if name != prefix + 'x'}
            if (self.stand_in is not None and isinstance(mask, Tensor)
                    and mask.shape == self.mask.shape
                    and mask.dtype == torch.bool):
                rows = slice(1 if self.missing == 'mean' else None)
                state_dict.setdefault(prefix + 'stand_in', x[~mask][rows])
        before = len(error_msgs) + len(missing_keys)
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys,
            unexpected_keys, error_msgs)
        if len(error_msgs) + len(missing_keys) > before:
            return
        if x is not None and local_metadata.get('assign_to_params_buffers'):
            self.x = x.to(self.x.dtype)
        if self.stand_in is not None:
            drawn = self.missing == 'random'
            mask = self.mask.to(self.stand_in.device)
            count = int((~mask).sum()) if drawn else 1
            if (self.stand_in.shape != (count, self.x.size(-1))
                    or self.stand_in.dtype != self.x.dtype):
                error_msgs.append(
                    f"Expected '{prefix}stand_in' to have shape "
                    f'[{count}, {self.x.size(-1)}] and type {self.x.dtype} '
                    f'(got {list(self.stand_in.shape)} of '
                    f'{self.stand_in.dtype})')
                return
            self.place = _places(mask, drawn)

    @torch.no_grad()
    def reset_parameters(self) -> None:
        r"""Resets all learnable parameters except for trainable feature rows,
        and redraws missing rows.
        """
        if self.hidden is not None:
            self.hidden.reset_parameters()
        self.lin.reset_parameters()
        if self.complete:
            return
        if self.fill is not None:
            bound = self.lin.weight.size(1) ** -0.5
            torch.nn.init.uniform_(self.fill, -bound, bound)
        mask = self.mask.to(self.x.device)
        if self.trained:  # These features have no other rows.
            self.x[~mask] = 0.0
        if self.missing in ('random', 'mean'):
            rows = self.x[~mask] if self.stand_in is None else self.stand_in
            mean = present_mean(self.x, mask)
            if self.missing == 'mean':
                rows.copy_(mean.expand_as(rows))
            else:
                std = _std(self.x, mask, mean)
                for part in rows.split(BLOCK):
                    part.copy_(mean + std * torch.randn_like(
                        part, dtype=torch.float))
            if self.trained:
                self.x[~mask] = rows

    def forward(self, index: Tensor, query: Optional[Tensor] = None) -> Tensor:
        r"""Returns the embeddings :obj:`[*, C]` of nodes :obj:`[*]`.

        Args:
            index (torch.Tensor): The nodes, :obj:`[*]`.
            query (torch.Tensor, optional): The queries that attend to the
                feature rows of a node with several rows, :obj:`[*, C]`.
                (default: :obj:`None`, all rows have equal weight)
        """
        out, mask = self.rows(index)
        if self.x.dim() == 2:
            return out
        weight = attention_weights(out, mask, query)
        return (weight.unsqueeze(-1) * out).sum(dim=-2)

    def rows(self, index: Tensor) -> tuple[Tensor, Tensor]:
        r"""Returns the projected feature rows of nodes :obj:`[*]`, with shape
        :obj:`[*, C]` or :obj:`[*, I, C]`, and the mask of present rows, with
        shape :obj:`[*]` or :obj:`[*, I]`.
        """
        dtype = self.lin.weight.dtype
        out = self.features(index).to(dtype)
        if self.hidden is not None:
            out = self.hidden(out).relu()
        # Autocast computes only these products in half precision.
        out = self.lin(out).to(dtype)
        mask = rows_of(self.mask, index)
        if self.fill is not None:
            out = torch.where(mask.unsqueeze(-1), out, self.fill)
        elif self.missing == 'drop' and not self.complete:
            out = out.masked_fill(~mask.unsqueeze(-1), 0.0)
        return out, mask

    def features(self, index: Optional[Tensor] = None) -> Tensor:
        r"""Returns the feature rows of nodes :obj:`[*]`, with shape
        :obj:`[*, F]` or :obj:`[*, I, F]`. Missing rows are replaced as
        :obj:`missing` says, and are zeros for :obj:`"learned"` and
        :obj:`"drop"`, which replace their embeddings.

        Args:
            index (torch.Tensor, optional): The nodes, :obj:`[*]`.
                (default: :obj:`None`, all nodes, where the features are)
        """
        def pick(table: Tensor) -> Tensor:
            return (table.to(self.x.device) if index is None else
                    rows_of(table, index))

        out = pick(self.x)
        if self.complete or self.trained:
            return out
        mask = pick(self.mask).unsqueeze(-1)
        if self.stand_in is None or self.place is None:
            return out.masked_fill(~mask, 0.0)
        return torch.where(mask, out, rows_of(self.stand_in,
                                              pick(self.place)))

    def has_rows(self, index: Tensor) -> Tensor:
        r"""Returns :obj:`True` for nodes :obj:`[*]` that have the
        modality.
        """
        mask = rows_of(self.mask, index)
        return mask if self.x.dim() == 2 else mask.any(dim=-1)

    @torch.no_grad()
    def extended(self, x: Tensor, mask: Tensor) -> ModalityEncoder:
        r"""Returns an encoder that shares all weights and has additional
        nodes. The policies :obj:`"random"` and :obj:`"mean"` fill the missing
        rows of the new nodes with the mean of the present rows.

        Args:
            x (torch.Tensor): The features of the new nodes, :obj:`[M, F]` or
                :obj:`[M, I, F]`.
            mask (torch.Tensor): :obj:`True` where a new node has a row,
                :obj:`[M]` or :obj:`[M, I]`.

        Raises:
            ModelError: If the features have a wrong shape.
        """
        if x.shape[1:] != self.x.shape[1:]:
            raise ModelError('Expected features of new nodes with shape [*, '
                             f'{str(list(self.x.shape[1:]))[1:]} (got '
                             f'{list(x.shape)})')
        out = copy.copy(self)
        out._buffers = dict(self._buffers)
        out._parameters = dict(self._parameters)
        mask = mask.to(self.mask.device).reshape(mask.shape + (1, ) * (
            x.dim() - 1 - mask.dim())).expand(x.shape[:-1])
        x = x.to(self.x.device, self.x.dtype)
        every = torch.cat([self.mask, mask])
        other, count = x.new_zeros(1, x.size(-1)), int((~mask).sum())
        if self.missing in ('random', 'mean'):
            if count > 0:
                other += present_mean(self.x, self.mask.to(x.device))
            drawn = self.missing == 'random'
            rows = other.expand(count if drawn else 1, -1)
            if self.stand_in is not None:
                rows = (torch.cat([self.stand_in, rows]) if drawn else
                        self.stand_in)
            if not (self.trained or bool(every.all())):
                out._buffers |= {'stand_in': rows, 'place': _places(
                    every, drawn).to(x.device)}
        if self.trained:
            x = torch.where(mask.to(x.device).unsqueeze(-1), x, other)
        out._parameters.pop('x', None)
        out._buffers['x'] = torch.cat([self.x.detach(), x])
        out._buffers['mask'] = every
        out.complete = self.complete and bool(mask.all())
        return out

    def extra_repr(self) -> str:
        return f'{self.x.size(0)} rows, missing={self.missing!r}'


def keep_features_on_host(module: torch.nn.Module) -> None:
    r"""Makes :meth:`~torch.nn.Module.to` leave the features of all encoders in
    a module on the CPU. The rows of a batch are then gathered there and
    copied.

    Raises:
        ModelError: If features are trained.
    """
    for encoder in module.modules():
        if isinstance(encoder, ModalityEncoder):
            if isinstance(encoder.x, Parameter):
                raise ModelError(
                    "Expected trainable_features=False for features_on='cpu', "
                    'since features that are trained belong on the device '
                    '(got True)')
            for name in ON_HOST:
                x = getattr(encoder, name)
                setattr(encoder, name, None if x is None else x.cpu())
            encoder.on_host = True


def _places(mask: Tensor, drawn: bool) -> Tensor:
    r"""Returns the position of each missing row among the missing rows, or
    zero if they are not drawn, with the shape of the mask. The value is
    arbitrary for present rows.
    """
    missing = ~mask.flatten() & drawn
    return (missing.cumsum(0) - 1).clamp_(min=0).view(mask.shape)


def _present(x: Tensor, mask: Tensor) -> Iterator[Tensor]:
    r"""Yields the present rows in double precision. Features that are mapped
    from a file are read in parts.
    """
    for rows, there in zip(x.flatten(0, -2).split(BLOCK),
                           mask.flatten().split(BLOCK), strict=True):
        yield rows[there].double()


def present_mean(x: Tensor, mask: Tensor) -> Tensor:
    r"""Returns the mean :obj:`[F]` of the present rows, which is 0 without
    any row.
    """
    total = x.new_zeros(x.size(-1), dtype=torch.double)
    return sum((rows.sum(dim=0) for rows in _present(x, mask)),
               total) / max(int(mask.sum()), 1)


def _std(x: Tensor, mask: Tensor, mean: Tensor) -> Tensor:
    r"""Returns the standard deviation :obj:`[F]` of the present rows, which is
    1 for fewer than two rows.
    """
    count = int(mask.sum())
    if count < 2:
        return torch.ones_like(mean)
    square = sum(((rows - mean).square().sum(dim=0)
                  for rows in _present(x, mask)), torch.zeros_like(mean))
    return (square / (count - 1)).sqrt()


def have_features(encoders: ModuleDict) -> Tensor:
    r"""Returns :obj:`True` for nodes with a feature row in at least one
    modality, :obj:`[N]`.
    """
    masks = [encoder.get_buffer('mask') for encoder in encoders.values()]
    return torch.stack([x.view(x.size(0), -1).any(dim=1)
                        for x in masks]).any(dim=0)


def attention_weights(x: Tensor, mask: Tensor,
                      query: Optional[Tensor] = None) -> Tensor:
    r"""Returns the attention weights :obj:`[*, I]` of `IKRL
    <https://arxiv.org/abs/1609.07028>`_ over the images of an entity (eq. (4)
    of its paper).

    .. math::
        a_i = \frac{\exp(\mathbf{p}_i \cdot \mathbf{e}_S)}
        {\sum_j \exp(\mathbf{p}_j \cdot \mathbf{e}_S)}

    Args:
        x (torch.Tensor): The projected rows :math:`\mathbf{p}_i`,
            :obj:`[*, I, C]`.
        mask (torch.Tensor): :obj:`True` for present rows, :obj:`[*, I]`. If
            an entity has no present row, attention covers all of its rows,
            which hold the fill values.
        query (torch.Tensor, optional): The structural embeddings
            :math:`\mathbf{e}_S`, :obj:`[*, C]`.
            (default: :obj:`None`, equal weights)
    """
    logit = (x.new_zeros(()).expand(mask.shape) if query is None else
             (x * query.unsqueeze(-2)).sum(dim=-1))
    absent = ~mask & mask.any(dim=-1, keepdim=True)
    return logit.masked_fill(absent, -math.inf).softmax(dim=-1)


def check_modalities(modalities: dict[str, Tensor], num_nodes: int) -> None:
    r"""Raises :class:`~pyg_mmkgc.errors.ModelError` if a modality has an
    invalid name, or if its features do not have one row per node.
    """
    for name, x in modalities.items():
        check_name(name)
        if x.dim() not in (2, 3) or x.size(0) != num_nodes:
            raise ModelError(f'Expected the features of {name!r} to have '
                             f'shape [{num_nodes}, F] or [{num_nodes}, I, F] '
                             f'(got {list(x.shape)})')


def check_name(name: str) -> None:
    r"""Raises :class:`~pyg_mmkgc.errors.ModelError` if the name of a modality
    is invalid.
    """
    # Submodules are named after modalities, so names must not clash with the
    # attributes of torch.nn.ModuleDict.
    if (name in ('', 'structure', 'training') or '.' in name
            or hasattr(ModuleDict, name)):
        raise ModelError('Expected a modality name that is not empty, is not '
                         "'structure', has no dots and is not an attribute of "
                         f'torch.nn.ModuleDict (got {name!r})')


def make_encoders(modalities: Optional[dict[str, Tensor]],
                  masks: Optional[dict[str, Tensor]], out_channels: int,
                  encoder_channels: Optional[dict[str, int]] = None,
                  **kwargs: Any) -> ModuleDict:
    r"""Builds a :class:`ModalityEncoder` for each modality from its features,
    its mask, its hidden width in :obj:`encoder_channels` if it has one, and
    the arguments in :obj:`kwargs`.

    Raises:
        ModelError: If a mask or a hidden width does not belong to a modality.
    """
    modalities, masks = modalities or {}, masks or {}
    widths = encoder_channels or {}
    for name, keys in (('masks', masks), ('encoder_channels', widths)):
        if not set(keys) <= set(modalities):
            raise ModelError(f"Expected the keys of '{name}' to be among "
                             f'{list(modalities)} (got {list(keys)})')
    return ModuleDict({
        name: ModalityEncoder(x, out_channels, masks.get(name),
                              hidden_channels=widths.get(name), **kwargs)
        for name, x in modalities.items()})
