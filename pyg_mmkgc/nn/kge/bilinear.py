r"""Abstract base classes of models with a score that is linear in both nodes,
:math:`\langle q(\mathbf{h}, r), \mathbf{t} \rangle`.
"""
from __future__ import annotations

from typing import Any, Optional

import torch
from torch import Tensor
from torch.nn import Embedding
from torch_geometric.nn.inits import reset

from pyg_mmkgc.errors import ModelError
from pyg_mmkgc.nn.encoded import Encoded
from pyg_mmkgc.nn.encoder import make_encoders
from pyg_mmkgc.nn.functional import complex_product, cubes
from pyg_mmkgc.nn.kge.query import QueryModel
from pyg_mmkgc.nn.loss import BCELoss
from pyg_mmkgc.nn.similarity import InnerProduct
from pyg_mmkgc.typing import Side


class Bilinear(QueryModel):
    r"""An abstract base class of bilinear models: tables of nodes and of
    relations, and the regularisers of the literature.

    Args:
        num_nodes, num_relations, hidden_channels, modalities, num_negatives,
            sparse: Arguments of :class:`~pyg_mmkgc.nn.MMKGEModel`.
        reciprocal (bool, optional): If set to :obj:`True`, each relation has
            a reciprocal one, for the heads. (default: :obj:`False`)
        n3 (float, optional): The weight of N3, :math:`\frac{1}{B} \sum
            (|\mathbf{h}|^3 + |\mathbf{r}|^3 + |\mathbf{t}|^3)` over the
            positives. (default: :obj:`0.0`)
        l3 (float, optional): The weight of L3, the cubes of both tables, as
            in the code of RotatE. (default: :obj:`0.0`)
    """
    similarity = InnerProduct()
    #: The real channels of a factor that N3 takes the modulus of.
    group = 2
    #: The width of a node's row, in hidden channels.
    width = 2
    #: The number of relation rows that lie side by side.
    blocks = 1

    def __init__(self, num_nodes: int, num_relations: int,
                 hidden_channels: int,
                 modalities: Optional[dict[str, Tensor]] = None,
                 reciprocal: bool = False, n3: float = 0.0, l3: float = 0.0,
                 num_negatives: int = 128, sparse: bool = False) -> None:
        super().__init__(num_nodes, num_relations, hidden_channels, modalities,
                         num_negatives, sparse)
        if not n3 >= 0 or not l3 >= 0:
            raise ModelError('expected n3 >= 0 and l3 >= 0, got '
                             f'{n3} and {l3}')
        if sparse and l3 > 0:
            raise ModelError('expected sparse=False with L3, whose gradient '
                             'reaches all rows')
        self.reciprocal, self.n3, self.l3 = reciprocal, n3, l3
        self.criterion = BCELoss()
        channels = self.width * hidden_channels
        self.node_emb = Embedding(num_nodes, channels, sparse=sparse)
        self.rel_emb = Embedding((1 + reciprocal) * num_relations,
                                 self.blocks * channels, sparse=sparse)

    def reset_parameters(self) -> None:
        torch.nn.init.xavier_uniform_(self.node_emb.weight)
        torch.nn.init.xavier_uniform_(self.rel_emb.weight)

    def loss(self, head_index: Tensor, rel_type: Tensor,
             tail_index: Tensor) -> Tensor:
        if self.reciprocal:
            head_index, rel_type, tail_index = (
                torch.cat([head_index, tail_index]),
                torch.cat([rel_type, self.inverse(rel_type)]),
                torch.cat([tail_index, head_index]))
        return super().loss(head_index, rel_type, tail_index)

    def factors(self, x: Tensor, rel_type: Tensor) -> Tensor:
        r"""Returns the factors of representations :obj:`[B, C]` that N3
        bounds.
        """
        return x

    def regularization(self, encoded: Encoded,
                       rel_type: Tensor) -> Optional[Tensor]:
        if self.n3 == 0 and self.l3 == 0:
            return None
        out = encoded.table.new_zeros(())
        if self.n3 > 0:
            both = torch.stack([rel_type, self.inverse(rel_type)]
                               if self.reciprocal else [rel_type])
            total = self._cubes(self.rel_emb(both)) / both.size(0)
            for index in (encoded.head, encoded.tail):
                total = total + self._cubes(
                    self.factors(encoded.table[index], rel_type))
            out = out + self.n3 / rel_type.numel() * total
        if self.l3 > 0:
            out = out + self.l3 * (cubes(self.node_emb.weight) +
                                   cubes(self.rel_emb.weight))
        return out

    def _cubes(self, x: Tensor) -> Tensor:
        return cubes(x.unflatten(-1, (self.blocks, -1)), self.group)


class BilinearViews(Bilinear):
    r"""An abstract base class of multi-modal models with the score of
    ComplEx, in the tradition of `facebookresearch/kbc
    <https://github.com/facebookresearch/kbc>`_: projections without bias of
    frozen features, next to a structural embedding; tables that start almost
    at zero.

    .. math::
        s(h, r, t) = \mathrm{Re} \langle \mathbf{e}_h, \mathbf{r},
        \bar{\mathbf{e}}_t \rangle

    Args:
        modalities (dict[str, torch.Tensor]): The features :obj:`[N, F_m]` of
            each modality, at least one.
        masks (dict[str, torch.Tensor], optional): :obj:`True` where a node
            has the modality, :obj:`[N]`.
        missing (str, optional): The policy for missing rows of
            :class:`~pyg_mmkgc.nn.ModalityEncoder`. (default: :obj:`"zeros"`)
        **kwargs (optional): Arguments of :class:`Bilinear`.
    """
    def __init__(self, num_nodes: int, num_relations: int,
                 hidden_channels: int,
                 modalities: Optional[dict[str, Tensor]] = None,
                 masks: Optional[dict[str, Tensor]] = None,
                 missing: str = 'zeros', **kwargs: Any) -> None:
        super().__init__(num_nodes, num_relations, hidden_channels, modalities,
                         **kwargs)
        self.missing = missing
        if not modalities:
            raise ModelError(f'{type(self).__name__} needs at least one '
                             'modality; ComplEx is the model without')
        for name, x in modalities.items():
            if x.dim() != 2:
                raise ModelError(f'{type(self).__name__} takes one feature '
                                 f'row per node, expected [{num_nodes}, F] '
                                 f'for {name!r}, got {list(x.shape)}')
        self.encoders = make_encoders(modalities, masks, 2 * hidden_channels,
                                      missing=missing, bias=False)

    def reset_parameters(self) -> None:
        for table in (self.node_emb, self.rel_emb):
            torch.nn.init.normal_(table.weight, std=1e-3)
        for encoder in self.encoders.values():
            reset(encoder)
            torch.nn.init.xavier_uniform_(encoder.get_parameter('lin.weight'))

    def embed(self, index: Tensor) -> dict[str, Tensor]:
        return super().embed(index) | {
            name: encoder(index) for name, encoder in self.encoders.items()}

    def query(self, x: Tensor, rel_type: Tensor, side: Side) -> Tensor:
        # As many products of ComplEx as there are blocks, side by side.
        x, rel = (y.unflatten(-1, (self.blocks, -1))
                  for y in (x, self.rel_emb(rel_type)))
        return complex_product(x, rel, conjugate=side == 'head').flatten(-2)


def side_by_side(*parts: Tensor) -> Tensor:
    r"""Concatenates rows :obj:`[*, C_i]` whose leading shapes broadcast."""
    shape = torch.broadcast_shapes(*(x.shape[:-1] for x in parts))
    return torch.cat([x.expand(*shape, -1) for x in parts], dim=-1)
