r"""Abstract base classes of models whose score :math:`\langle q(\mathbf{h},
r), \mathbf{t} \rangle` is linear in both nodes.
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
    r"""An abstract base class of bilinear models, with embedding tables of
    nodes and relations, and the regularizers N3 and L3.

    Args:
        num_nodes, num_relations, hidden_channels: Arguments of
            :class:`~pyg_mmkgc.nn.MMKGEModel`.
        modalities, num_negatives, sparse: Further arguments of
            :class:`~pyg_mmkgc.nn.MMKGEModel`.
        reciprocal (bool, optional): If set to :obj:`True`, each relation has
            a reciprocal relation to rank heads. (default: :obj:`False`)
        n3 (float, optional): The weight of the N3 regularizer
            :math:`\frac{1}{B} \sum (|\mathbf{h}|^3 + |\mathbf{r}|^3 +
            |\mathbf{t}|^3)` over the positives. (default: :obj:`0.0`)
        l3 (float, optional): The weight of the L3 regularizer, the sum of the
            cubed entries of both tables, as in the code of RotatE.
            (default: :obj:`0.0`)
    """
    similarity = InnerProduct()
    #: The number of real channels in a modulus of N3.
    group = 2
    #: The width of a node's row as a multiple of :obj:`hidden_channels`.
    width = 2
    #: The number of concatenated embeddings in the row of a relation.
    blocks = 1

    def __init__(self, num_nodes: int, num_relations: int,
                 hidden_channels: int,
                 modalities: Optional[dict[str, Tensor]] = None,
                 reciprocal: bool = False, n3: float = 0.0, l3: float = 0.0,
                 num_negatives: int = 128, sparse: bool = False) -> None:
        super().__init__(num_nodes, num_relations, hidden_channels, modalities,
                         num_negatives, sparse)
        if not n3 >= 0 or not l3 >= 0:
            raise ModelError("Expected 'n3' and 'l3' to be at least 0 (got "
                             f'{n3} and {l3})')
        if sparse and l3 > 0:
            raise ModelError("Expected 'sparse' to be False with 'l3', whose "
                             f'gradient reaches all rows (got sparse={sparse} '
                             f'and l3={l3})')
        self.reciprocal, self.n3, self.l3 = reciprocal, n3, l3
        if l3 > 0:
            self.needs_table = True
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
        regularizes.
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
    r"""An abstract base class of multi-modal models with the score of ComplEx.
    It combines a structural embedding with projections of frozen features,
    which have no bias. As in `facebookresearch/kbc
    <https://github.com/facebookresearch/kbc>`_, embeddings are initialized
    close to zero.

    .. math::
        s(h, r, t) = \mathrm{Re} \langle \mathbf{e}_h, \mathbf{r},
        \bar{\mathbf{e}}_t \rangle

    Args:
        modalities (dict[str, torch.Tensor]): The features :obj:`[N, F_m]` of
            each modality, at least one.
        masks (dict[str, torch.Tensor], optional): The mask :obj:`[N]` of the
            nodes that have each modality. (default: :obj:`None`)
        missing (str, optional): The policy for missing rows of
            :class:`~pyg_mmkgc.nn.ModalityEncoder`. (default: :obj:`"zeros"`)
        encoder_channels (dict[str, int], optional): The modalities whose
            projection has two layers, each with its hidden width, such as
            :obj:`{"numeric": 256}`. (default: :obj:`None`)
        **kwargs (optional): Arguments of :class:`Bilinear`.
    """
    def __init__(self, num_nodes: int, num_relations: int,
                 hidden_channels: int,
                 modalities: Optional[dict[str, Tensor]] = None,
                 masks: Optional[dict[str, Tensor]] = None,
                 missing: str = 'zeros',
                 encoder_channels: Optional[dict[str, int]] = None,
                 **kwargs: Any) -> None:
        super().__init__(num_nodes, num_relations, hidden_channels, modalities,
                         **kwargs)
        self.missing, self.encoder_channels = missing, encoder_channels
        if not modalities:
            raise ModelError(f"Expected 'modalities' of {type(self).__name__} "
                             'to hold at least one modality (got '
                             f'{modalities}). Use ComplEx to train without '
                             'modalities.')
        for name, x in modalities.items():
            if x.dim() != 2:
                raise ModelError(f'Expected the features of {name!r} to have '
                                 f'shape [{num_nodes}, F], one row per node, '
                                 f'in {type(self).__name__} (got '
                                 f'{list(x.shape)})')
        self.encoders = make_encoders(
            modalities, masks, 2 * hidden_channels, encoder_channels,
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
        # Each block is a query of ComplEx with its own relation embedding.
        x, rel = (y.unflatten(-1, (self.blocks, -1))
                  for y in (x, self.rel_emb(rel_type)))
        return complex_product(x, rel, conjugate=side == 'head').flatten(-2)
