r"""Models whose tables never exist as a whole."""
from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Optional, TypeVar

import torch
from torch import Tensor
from torch.nn import Embedding, Parameter
from torch.utils._python_dispatch import TorchDispatchMode

from pyg_mmkgc.distributed.group import world_size
from pyg_mmkgc.distributed.table import TABLES, Layout, ShardedEmbedding

M = TypeVar('M')
# The number of rows that are drawn at once, a multiple of 16: the numbers of
# a normal distribution are drawn in groups of 16.
ROWS = 1 << 14

_aten = torch.ops.aten
_DRAWS = {_aten.uniform_.default, _aten.normal_.default}
_FILLS = {_aten.zero_.default, _aten.fill_.Scalar}


def build(function: Callable[[], M], num_nodes: int) -> M:
    r"""Builds a model, with the same weights as in one process, but without
    the rows of its tables that belong to other processes.

    .. code-block:: python

        with process_group():
            model = build(lambda: AdaMF.from_data(kg, 200), kg.num_nodes)
            Trainer(model, kg, sampler=PooledSampler()).fit()

    The tables are built on PyTorch's :obj:`meta` device. Each process draws
    the random numbers of all rows, block by block, and keeps its own. A model
    that computes its tables in another way is built as a whole.

    Args:
        function (callable): Returns the model.
        num_nodes (int): The number of nodes :obj:`N` of the model.
    """
    if world_size() == 1:
        return function()
    before = torch.get_rng_state()
    mode = _Tables(num_nodes)
    try:
        with mode:
            model = function()
        mode.replace(model)
    except _Unsupported:
        torch.set_rng_state(before)
        return function()
    return model


class _Unsupported(Exception):
    r"""A model computes a table in a way that needs the whole table."""


class _Tables(TorchDispatchMode):
    r"""Replaces new tables :obj:`[N, C]` by tables without memory, and keeps
    the rows of this process of what they are initialized with.
    """
    def __init__(self, num_nodes: int) -> None:
        super().__init__()
        self.num_nodes = num_nodes
        self.place = Layout(num_nodes).ids()
        self.rows: dict[int, Optional[Tensor]] = {}
        # A storage that is freed could pass its identity on to another one.
        self.kept: list[Tensor] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (),
                           kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is _aten.empty.memory_format and self._is_table(args, kwargs):
            out = func(*args, **{**kwargs, 'device': torch.device('meta')})
            self.rows[_key(out)] = None
            self.kept.append(out)
            return out
        first = args[0] if args and isinstance(args[0], Tensor) else None
        if first is None or first.device.type != 'meta' or (
                _key(first) not in self.rows):
            return func(*args, **kwargs)
        if func in _DRAWS or func in _FILLS:
            self.rows[_key(first)] = self._fill(func, first, args[1:], kwargs)
            return first
        if func._schema.is_mutable:
            raise _Unsupported
        return func(*args, **kwargs)

    def _is_table(self, args: Any, kwargs: Any) -> bool:
        device = kwargs.get('device')
        dtype = kwargs.get('dtype') or torch.get_default_dtype()
        return (len(args[0]) == 2 and args[0][0] == self.num_nodes
                and (device is None or device.type == 'cpu')
                and dtype.is_floating_point)

    def _fill(self, func: Any, table: Tensor, args: Any,
              kwargs: Any) -> Tensor:
        own, order = self.place.sort()
        parts = [table.new_empty(0, table.size(1), device='cpu')]
        for first, last in _blocks(self.num_nodes):
            block = torch.empty(last - first, table.size(1),
                                dtype=table.dtype)
            func(block, *args, **kwargs)
            start, stop = torch.searchsorted(
                own, torch.tensor([first, last])).tolist()
            parts.append(block[own[start:stop] - first])
        rows = torch.cat(parts)
        out = torch.empty_like(rows)
        out[order] = rows
        return out

    def replace(self, model: Any) -> None:
        r"""Replaces the tables of a model by the rows of this process."""
        for name in TABLES:
            table = getattr(model, name, None)
            if not isinstance(table, Embedding) or (
                    table.weight.device.type != 'meta'):
                continue
            rows = self.rows.get(_key(table.weight))
            if rows is None:
                raise _Unsupported
            new = ShardedEmbedding(table.num_embeddings, table.embedding_dim,
                                   table.sparse, dtype=rows.dtype)
            new.weight = Parameter(rows, table.weight.requires_grad)
            setattr(model, name, new)
        if any(x.device.type == 'meta' for part in (
                model.parameters(), model.buffers()) for x in part):
            raise _Unsupported


def _key(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _blocks(num_rows: int) -> Iterator[tuple[int, int]]:
    first = 0
    while first < num_rows:
        # The last group of 16 must not begin a block.
        last = min(first + ROWS, num_rows)
        last = num_rows if num_rows - last < 16 else last
        yield first, last
        first = last
