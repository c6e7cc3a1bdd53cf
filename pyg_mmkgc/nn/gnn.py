from __future__ import annotations

import inspect
from typing import Any, Optional, Union

import torch
import torch.nn.functional as F
import torch_geometric.nn.conv as convs
from torch import Tensor
from torch.nn import Module, ModuleList, Parameter
from torch_geometric.nn import MessagePassing

from pyg_mmkgc.errors import CheckpointError, ModelError, check_whole

EDGES = ('edge_index', 'edge_type')


class GNNEncoder(Module):
    r"""The structural embeddings of nodes after layers of a :pyg:`PyG` GNN,
    such as :class:`~torch_geometric.nn.conv.RGCNConv`, over the training
    triples.

    .. math::
        \mathbf{X}^{(l)} = \mathbf{X}^{(l-1)} + \mathrm{dropout} \left(
        \mathrm{conv}_l(\mathbf{X}^{(l-1)}) \right)

    with a ReLU after every convolution except for the last. The encoder
    replaces the embedding table of any :class:`~pyg_mmkgc.nn.MMKGEModel`, and
    :meth:`~pyg_mmkgc.io.pretrained.Pretrained.save_pretrained` saves it as
    part of the model:

    .. code-block:: python

        model = AdaMFMAT.from_data(kg, hidden_channels=64, encoder=GNNEncoder(
            'RGCNConv', num_layers=2, num_bases=8))

    Each triple passes a message from its head to its tail with relation
    :obj:`r`, and back with relation :obj:`r + R`. A convolution without an
    argument :obj:`edge_type` ignores relations.

    On a GPU, :class:`~torch_geometric.nn.conv.RGCNConv` waits for the edges of
    each relation in every step. :obj:`"FastRGCNConv"` has the same formula and
    does not wait, but holds a matrix per edge, which :obj:`num_blocks` keeps
    small.

    Args:
        conv (str or type): The convolution: a name in
            :mod:`torch_geometric.nn.conv`, or a subclass of
            :class:`~torch_geometric.nn.conv.MessagePassing`. It is called
            with :obj:`in_channels`, :obj:`out_channels` and, if it takes
            them, :obj:`num_relations`.
        num_layers (int, optional): The number of layers.
            (default: :obj:`2`)
        dropout (float, optional): The dropout rate of the output of a layer.
            (default: :obj:`0.0`)
        **kwargs (optional): Additional arguments of the convolution, as plain
            values.

    Raises:
        ModelError: If the convolution is unknown, or an argument is out of
            range.
    """
    weight: Parameter  # [N, C], the input of the first layer.
    edge_index: Tensor
    edge_type: Tensor

    def __init__(self, conv: Union[str, type], num_layers: int = 2,
                 dropout: float = 0.0, **kwargs: Any) -> None:
        super().__init__()
        check_whole(num_layers=num_layers)
        if not 0.0 <= dropout < 1.0:
            raise ModelError("Expected 'dropout' to lie in [0, 1) (got "
                             f'{dropout})')
        for key, value in kwargs.items():
            if not isinstance(value, (str, int, float, bool, type(None))):
                raise ModelError(f"Expected '{key}' to be a plain value, "
                                 f'which can be saved (got {value!r})')
        self.conv = find_conv(conv)
        self.num_layers, self.dropout, self.kwargs = (num_layers, dropout,
                                                      kwargs)

    def config(self) -> dict[str, Any]:
        r"""Returns the arguments of the constructor as plain values."""
        return {'conv': self.conv.__name__, 'num_layers': self.num_layers,
                'dropout': self.dropout, **self.kwargs}

    def replace(self, table: Any, num_relations: int, edge_index: Tensor,
                edge_type: Tensor) -> GNNEncoder:
        r"""Replaces an embedding table, and returns the encoder.

        Args:
            table (torch.nn.Embedding): The table :obj:`[N, C]`, whose weights
                become the input of the first layer.
            num_relations (int): The number of relations :obj:`R`.
            edge_index (torch.Tensor): The training triples :obj:`[2, E]`.
            edge_type (torch.Tensor): Their relations :obj:`[E]`.

        Raises:
            ModelError: If the convolution does not take the arguments, or the
                table is empty.
        """
        if table.num_embeddings == 0:
            raise ModelError('Expected a model with structural embeddings to '
                             'encode (got none)')
        channels = table.embedding_dim
        kwargs = dict(self.kwargs)
        if 'num_relations' in inspect.signature(self.conv).parameters:
            kwargs['num_relations'] = 2 * num_relations
        try:
            self.convs = ModuleList(self.conv(channels, channels, **kwargs)
                                    for _ in range(self.num_layers))
        except (TypeError, ValueError, AssertionError) as error:
            raise ModelError(
                f'Expected arguments of {self.conv.__name__} for {channels} '
                f'channels (got {kwargs}: {error})') from error
        self.weight = Parameter(table.weight.detach())
        head, tail = edge_index
        self.register_buffer('edge_index', torch.stack([
            torch.cat([head, tail]), torch.cat([tail, head])]))
        self.register_buffer('edge_type', torch.cat([
            edge_type, edge_type + num_relations]))
        return self

    def reset_parameters(self) -> None:
        r"""Resets the parameters of all convolutions. A model resets
        :obj:`weight` like its embedding table.
        """
        layers: list[Any] = list(self.convs)
        for conv in layers:
            conv.reset_parameters()

    @property
    def num_embeddings(self) -> int:
        r"""The number of nodes."""
        return self.weight.size(0)

    @property
    def embedding_dim(self) -> int:
        r"""The number of channels."""
        return self.weight.size(1)

    def table(self) -> Tensor:
        r"""Returns the embeddings :obj:`[N, C]` of all nodes."""
        typed = 'edge_type' in inspect.signature(self.conv.forward).parameters
        edges = (self.edge_index, self.edge_type)[:1 + typed]
        x: Tensor = self.weight
        for i, conv in enumerate(self.convs, start=1):
            out = conv(x, *edges)
            out = out.relu() if i < self.num_layers else out
            x = x + F.dropout(out, self.dropout, self.training).to(x.dtype)
        return x

    def forward(self, index: Tensor) -> Tensor:
        r"""Returns the embeddings :obj:`[*, C]` of nodes :obj:`[*]`."""
        return F.embedding(index, self.table())

    def extra_repr(self) -> str:
        return ', '.join(f'{key}={value!r}' for key, value in
                         self.config().items())


def find_conv(conv: Union[str, type]) -> Any:
    r"""Returns the convolution with a given name, from :pyg:`PyG` or any
    imported module.

    Raises:
        ModelError: If there is no such convolution.
    """
    if inspect.isclass(conv) and issubclass(conv, MessagePassing):
        return conv
    if isinstance(conv, str) and conv in convs.__all__:
        return getattr(convs, conv)
    known = {c.__name__: c for c in _subclasses(MessagePassing)}
    if isinstance(conv, str) and conv in known:
        return known[conv]
    raise ModelError("Expected 'conv' to be a MessagePassing class or its "
                     f'name in torch_geometric.nn.conv (got {conv!r}). '
                     'Import a class of your own before using its name.')


def _subclasses(cls: Any) -> list[Any]:
    return [c for child in cls.__subclasses__()
            for c in (child, *_subclasses(child))]


def load_encoder(saved: Any, state: dict[str, Tensor],
                 num_relations: int) -> Optional[GNNEncoder]:
    r"""Builds the encoder of a saved model. Its weights still have to be
    loaded.

    Args:
        saved (Any): The result of :meth:`GNNEncoder.config`.
        state (dict): The weights of the model.
        num_relations (int): The number of relations.

    Raises:
        CheckpointError: If the values do not describe an encoder.
    """
    tensors = [state.get(f'node_emb.{name}') for name in ('weight', *EDGES)]
    if not isinstance(saved, dict) or any(x is None for x in tensors):
        raise CheckpointError('Expected the arguments and tensors of the '
                              f'encoder (got {saved!r:.80} and '
                              f'{[x is not None for x in tensors]})')
    weight, edge_index, edge_type = tensors
    assert weight is not None and edge_index is not None
    assert edge_type is not None
    half = edge_type.numel() // 2
    try:
        out = GNNEncoder(**saved)
        return out.replace(
            torch.nn.Embedding(*weight.shape), num_relations,
            edge_index.new_empty(2, half), edge_type.new_empty(half))
    except (ModelError, TypeError, ValueError) as error:
        raise CheckpointError('Expected an encoder that can be built (got '
                              f'{saved!r:.200}: {error})') from error
