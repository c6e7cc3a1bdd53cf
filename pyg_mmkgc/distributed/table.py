r"""Embedding tables whose rows are distributed over processes."""
from __future__ import annotations

import math
from contextlib import ExitStack
from typing import Any, Optional

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import Embedding, Module, Parameter

from pyg_mmkgc.distributed.group import (
    on_main,
    raise_on_all,
    rank,
    stack_ranks,
    world_size,
)
from pyg_mmkgc.errors import MMKGCError, ModelError
from pyg_mmkgc.io.pretrained import (
    finish_saving,
    new_files,
    save_pretrained,
    save_shard,
)
from pyg_mmkgc.io.reading import as_path

# The names of the tables of nodes. PyG's models may have two.
TABLES = ('node_emb', 'node_emb_im')


class Layout:
    r"""The distribution of :obj:`N` rows over processes.

    A row has a place in a permuted order, of which each process has a
    consecutive part, as in the layout :obj:`Shard(0)` of
    :class:`torch.distributed.tensor.DTensor`. The permutation, a
    multiplication modulo :obj:`N`, spreads ids that are sorted by degree over
    all processes. It does not depend on the number of processes.

    Args:
        num_rows (int): The number of rows :obj:`N`.
    """
    def __init__(self, num_rows: int) -> None:
        self.num_rows = num_rows
        # Multiples of the golden ratio are spread evenly.
        self.factor = max(1, round(num_rows * (math.sqrt(5) - 1) / 2))
        while math.gcd(self.factor, num_rows) != 1:
            self.factor += 1
        #: The number of rows of a process. The last processes have fewer.
        self.size = -(-num_rows // world_size())
        self.first = min(rank() * self.size, num_rows)
        self.last = min(self.first + self.size, num_rows)

    def place(self, index: Tensor) -> Tensor:
        r"""Returns the places of ids :obj:`[*]`."""
        return index * self.factor % self.num_rows

    def ids(self, device: Optional[torch.device] = None) -> Tensor:
        r"""Returns the ids of the rows of this process in their order."""
        place = torch.arange(self.first, self.last, device=device)
        return place * pow(self.factor, -1, self.num_rows) % self.num_rows


class ShardedEmbedding(Module):
    r"""An embedding table of which each process has a part of the rows.

    A lookup asks the owners of the rows for them, by two all-to-all
    collectives, so all processes must look up rows at the same time. The
    gradient takes the same way back. It is a gradient of the rows of this
    process, :obj:`weight`, which an optimizer updates like any parameter.

    In the state of the module, :obj:`weight` is a
    :class:`torch.distributed.tensor.DTensor` in permuted order. A
    :class:`torch.Tensor` in the order of ids may be loaded.

    Args:
        num_embeddings (int): The number of rows :obj:`N` of all processes.
        embedding_dim (int): The number of channels :obj:`C`.
        sparse (bool, optional): If set to :obj:`True`, the gradient is
            sparse. (default: :obj:`False`)
        **kwargs (optional): The :obj:`dtype` and :obj:`device` of the rows.
    """
    def __init__(self, num_embeddings: int, embedding_dim: int,
                 sparse: bool = False, **kwargs: Any) -> None:
        super().__init__()
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        self.sparse = sparse
        self.layout = Layout(num_embeddings)
        self.weight = Parameter(torch.empty(
            self.layout.last - self.layout.first, embedding_dim, **kwargs))

    @classmethod
    def from_table(cls, table: Embedding) -> ShardedEmbedding:
        r"""Takes the rows of this process from a table."""
        weight = table.weight.detach()
        out = cls(weight.size(0), weight.size(1), table.sparse,
                  dtype=weight.dtype, device=weight.device)
        out.weight.data = weight[out.layout.ids(weight.device)]
        out.weight.requires_grad_(table.weight.requires_grad)
        return out.train(table.training)

    def forward(self, index: Tensor) -> Tensor:
        r"""Returns the rows :obj:`[*, C]` of ids :obj:`[*]`."""
        if index.numel() > 0:
            low, high = (int(x) for x in index.aminmax())
            if low < 0 or high >= self.num_embeddings:
                raise IndexError(f'Expected ids in [0, {self.num_embeddings}) '
                                 f'(got {low if low < 0 else high})')
        out: Tensor = _Lookup.apply(self.weight, index.reshape(-1), self)
        return out.view(*index.shape, self.embedding_dim)

    def distribute(self, rows: Tensor) -> Any:
        r"""Returns rows of this process, such as :obj:`weight`, as part of a
        :class:`torch.distributed.tensor.DTensor` of all rows.
        """
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.tensor import DTensor, Shard

        # A mesh that is kept would keep the process group after its end.
        mesh = init_device_mesh(rows.device.type, (world_size(), ))
        shape = torch.Size((self.num_embeddings, *rows.shape[1:]))
        return DTensor.from_local(
            rows, mesh, [Shard(0)], run_check=False, shape=shape,
            stride=torch.empty(shape, device='meta').stride())

    def whole(self, rows: Tensor) -> Tensor:
        r"""Collects the rows of all processes in the order of ids, as for a
        model of one process.
        """
        size = self.layout.size
        padded = rows.new_zeros(size, *rows.shape[1:])
        padded[:rows.size(0)] = rows
        every = torch.arange(self.num_embeddings, device=rows.device)
        return stack_ranks(padded).flatten(0, 1)[self.layout.place(every)]

    def own_rows(self, rows: Any) -> Tensor:
        r"""Returns the rows of this process of the rows of all processes,
        given as a :class:`torch.distributed.tensor.DTensor` or in the order
        of ids. Other tensors are returned as they are.
        """
        if hasattr(rows, 'to_local'):
            return rows.to_local()
        if rows.dim() == 0 or rows.size(0) != self.num_embeddings:
            return rows
        return rows[self.layout.ids(rows.device)]

    def _save_to_state_dict(self, destination: Any, prefix: str,
                            keep_vars: bool) -> None:
        destination[prefix + 'weight'] = self.distribute(self.weight.detach())

    def _load_from_state_dict(self, state_dict: Any, prefix: str,
                              *args: Any) -> None:
        key = prefix + 'weight'
        value = state_dict.get(key)
        if value is not None:
            state_dict = {**state_dict, key: self.own_rows(value)}
        super()._load_from_state_dict(state_dict, prefix, *args)

    def extra_repr(self) -> str:
        return (f'{self.num_embeddings}, {self.embedding_dim}, '
                f'sparse={self.sparse}')


class _Lookup(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, index: Tensor,
                table: ShardedEmbedding) -> Tensor:
        layout = table.layout
        place = layout.place(index)
        # Ordered by place, ids are ordered by owner.
        place, order = place.sort(stable=True)
        counts = torch.div(place, layout.size, rounding_mode='floor').bincount(
            minlength=world_size())
        theirs = torch.empty_like(counts)
        dist.all_to_all_single(theirs, counts)
        asked = counts.tolist()
        given = theirs.tolist()
        wanted = place.new_empty(sum(given))
        dist.all_to_all_single(wanted, place, given, asked)
        wanted -= layout.first
        rows = weight.new_empty(place.numel(), weight.size(1))
        dist.all_to_all_single(rows, weight[wanted], asked, given)
        ctx.save_for_backward(order, wanted)
        ctx.counts, ctx.shape, ctx.sparse = (asked, given), weight.shape, (
            table.sparse)
        out = torch.empty_like(rows)
        out[order] = rows
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Optional[Tensor], ...]:
        order, wanted = ctx.saved_tensors
        asked, given = ctx.counts
        rows = grad.new_empty(wanted.numel(), grad.size(1))
        dist.all_to_all_single(rows, grad[order], given, asked)
        if ctx.sparse:
            out = torch.sparse_coo_tensor(wanted.unsqueeze(0), rows, ctx.shape,
                                          check_invariants=False)
        else:
            out = rows.new_zeros(ctx.shape).index_add_(0, wanted, rows)
        return out, None, None


def shard(model: Any) -> None:
    r"""Distributes the embeddings of a model's nodes over all processes, in
    place. Other parameters have a copy in each process. Has no effect in one
    process.

    Raises:
        ModelError: If the model needs the whole table.
    """
    if world_size() == 1:
        return
    if getattr(model, 'needs_table', False):
        raise ModelError(
            f"Expected a model whose steps need some rows of the table of "
            f"nodes, for {world_size()} processes (got "
            f"'{type(model).__name__}', which needs all). Train it in one "
            'process.')
    for name in TABLES:
        table = getattr(model, name, None)
        if isinstance(table, Embedding) and table.num_embeddings > 0:
            setattr(model, name, ShardedEmbedding.from_table(table))


def sharded_tables(module: Module) -> dict[int, ShardedEmbedding]:
    r"""Returns the sharded tables of a module by the :func:`id` of their
    weight.
    """
    if world_size() == 1:
        return {}
    return {id(x.weight): x for x in module.modules()
            if isinstance(x, ShardedEmbedding)}


def whole_state(module: Module) -> dict[str, Tensor]:
    r"""Returns the state of a module as in one process, with all rows of its
    tables. All processes must call it.
    """
    out = dict(module.state_dict())
    for name, x in module.named_modules():
        if isinstance(x, ShardedEmbedding):
            key = f'{name}.weight' if name else 'weight'
            out[key] = x.whole(x.weight.detach())
    return out


def num_parameters(model: Module) -> int:
    r"""Returns the number of parameters of a model, including the rows of its
    tables in other processes.
    """
    tables = sharded_tables(model)
    return sum(p.numel() if id(p) not in tables else
               tables[id(p)].num_embeddings * p.size(1)
               for p in model.parameters())


def save_over_ranks(model: Any, folder: Any, data: Any = None) -> None:
    r"""Writes a model to a folder, which
    :meth:`~pyg_mmkgc.nn.MMKGEModel.from_pretrained` reads as usual. All
    processes must call it. Each process writes its rows to its own file,
    which :obj:`model.safetensors.index.json` names, so none holds all rows.

    Args:
        model (torch.nn.Module): The model.
        folder (str or pathlib.Path): The folder, created if missing.
        data (KnowledgeGraph, optional): The graph whose labels are saved.
            (default: :obj:`None`, the labels of the model)
    """
    tables = {f'{name}.weight': table for name, table in model.named_modules()
              if isinstance(table, ShardedEmbedding)}
    if not tables:
        on_main(lambda: save_pretrained(model, folder, data))
        return
    folder = as_path(folder)
    with ExitStack() as stack:
        place = on_main(lambda: stack.enter_context(
            new_files(model, folder, data)))
        error: Optional[MMKGCError] = None
        try:
            save_shard(model, place, {
                name: x.weight.detach() for name, x in tables.items()}, {
                name: x.layout.ids() for name, x in tables.items()},
                rank(), world_size())
        except MMKGCError as found:
            error = found
        raise_on_all(error)
        on_main(lambda: finish_saving(model, place, folder, data, {
            name: x.num_embeddings for name, x in tables.items()},
            world_size()))


def candidates(model: Any, num_nodes: int) -> Tensor:
    r"""Returns the sorted nodes that this process scores, on the host."""
    table = getattr(model, 'node_emb', None)
    if isinstance(table, ShardedEmbedding) and (
            table.num_embeddings == num_nodes):
        return table.layout.ids().sort().values
    size, k = -(-num_nodes // world_size()), rank()
    return torch.arange(min(k * size, num_nodes),
                        min((k + 1) * size, num_nodes))


def positions(nodes: Tensor, index: Tensor) -> Tensor:
    r"""Returns the positions :obj:`[*]` of ids :obj:`[*]` among sorted nodes,
    and -1 for ids that are not among them.
    """
    if nodes.numel() == 0:
        return torch.full_like(index, -1)
    place = torch.searchsorted(nodes, index).clamp_(max=nodes.numel() - 1)
    return torch.where(nodes[place] == index, place, -1)
