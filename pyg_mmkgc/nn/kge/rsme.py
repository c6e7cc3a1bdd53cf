from __future__ import annotations

import math
from typing import Any, Optional

import torch
import torch.nn.functional as F
from torch import Tensor

from pyg_mmkgc.errors import ModelError
from pyg_mmkgc.kernels.backend import BLOCK
from pyg_mmkgc.nn.functional import side_by_side
from pyg_mmkgc.nn.kge.bilinear import BilinearViews
from pyg_mmkgc.typing import Side


class RSME(BilinearViews):
    r"""The RSME model from the `"Is Visual Context Really Helpful for
    Knowledge Graph? A Representation Learning Perspective"
    <https://dl.acm.org/doi/10.1145/3474085.3475470>`_ paper, which extends
    ComplEx with gates that control the influence of images.

    .. math::
        \mathbf{e} &= (1 - a_r) \, \mathbf{e}_S + a_r \mathbf{P} \mathbf{f} \\
        s(h, r, t) &= b \, \mathrm{Re} \langle \mathbf{e}_h, \mathbf{r},
        \bar{\mathbf{e}}_t \rangle + (1 - b) \, g_r
        \cos(\mathbf{f}_h, \mathbf{f}_t)

    The fusion gate :math:`a_r` is either a constant or
    :math:`1 / (1 + e^{MRP_r})`. The forget gate :math:`g_r` is one if
    :math:`MRP_r` is below a threshold, and zero otherwise. As in the authors'
    code, training uses the first term alone, and :meth:`embed` adds the cosine
    only in evaluation mode. The filter gate, which selects one image per
    entity before training, is not implemented.

    Each modality has its own :math:`\mathbf{P}`. With several modalities,
    their projections are averaged, and so are their cosines. If :math:`a_r`
    depends on the relation, the authors' code blocks the gradient through the
    gate, which flows here.

    :obj:`form="port"` selects the model that the released code of AdaMF-MAT
    calls RSME. It applies ComplEx to the concatenated structure and
    projections, which have separate relation embeddings. It has no gates, and
    a cosine of the projections :math:`\mathbf{P} \mathbf{f}` that is also used
    in training.

    Args:
        num_nodes (int): The number of nodes/entities :obj:`N` in the graph.
        num_relations (int): The number of relations :obj:`R` in the graph.
        hidden_channels (int): The complex dimension :obj:`D`.
        modalities (dict[str, torch.Tensor]): The features :obj:`[N, F_m]` of
            each modality, at least one.
        masks (dict[str, torch.Tensor], optional): The mask :obj:`[N]` of the
            nodes that have each modality. (default: :obj:`None`)
        form (str, optional): The form of the model, :obj:`"official"` or
            :obj:`"port"`. (default: :obj:`"official"`)
        alpha (float, optional): The fusion gate :math:`a`, shared by all
            relations. If set to :obj:`None`, the gate :math:`a_r` depends on
            :math:`MRP_r`. (default: :obj:`0.7`)
        beta (float, optional): The weight :math:`b`. (default: :obj:`0.95`)
        forget (float, optional): The threshold of :math:`MRP_r` in the forget
            gate. :obj:`1.0` disables the gate. (default: :obj:`1.0`)
        missing (str, optional): The policy for missing rows.
            (default: :obj:`"zeros"`)
        **kwargs (optional): :obj:`reciprocal`, :obj:`n3`, :obj:`l3`,
            :obj:`num_negatives` and :obj:`sparse`, as for
            :class:`~pyg_mmkgc.nn.ComplEx`.

    Raises:
        ModelError: If an argument is out of range, or there is no modality.
    """
    mrp: Tensor

    def __init__(self, num_nodes: int, num_relations: int,
                 hidden_channels: int,
                 modalities: Optional[dict[str, Tensor]] = None,
                 masks: Optional[dict[str, Tensor]] = None,
                 form: str = 'official', alpha: Optional[float] = 0.7,
                 beta: float = 0.95, forget: float = 1.0,
                 missing: str = 'zeros', **kwargs: Any) -> None:
        if form not in ('official', 'port'):
            raise ModelError("Expected 'form' to be 'official' or 'port' (got "
                             f'{form!r})')
        if not all(0 <= x <= 1 for x in (alpha or 0.0, beta, forget)):
            raise ModelError("Expected 'alpha', 'beta' and 'forget' to be in "
                             f'[0, 1] (got {alpha}, {beta} and {forget})')
        if form == 'port':
            self.blocks = 1 + len(modalities or {})
        super().__init__(num_nodes, num_relations, hidden_channels, modalities,
                         masks, missing, **kwargs)
        self.form, self.alpha = form, alpha
        self.beta, self.forget = beta, forget
        #: If :obj:`True`, the fusion depends on the relation.
        self.mixes = form == 'official' and alpha is None
        self.register_buffer('mrp', torch.zeros(num_relations))
        self.reset_parameters()

    def prepare(self, edge_index: Tensor, edge_type: Tensor) -> None:
        if self.mixes or (self.form == 'official' and self.forget < 1):
            self.mrp.copy_(mean_rank_percentage(
                self._cosine(), edge_index, edge_type, self.num_relations))

    def embed(self, index: Tensor) -> dict[str, Tensor]:
        views = super().embed(index)
        if self.form == 'official' and not self.training:
            views['cosine'] = self._cosine(index)
        return views

    def _cosine(self, index: Optional[Tensor] = None) -> Tensor:
        encoders: Any = self.encoders.values()
        return _units([encoder.features(index).to(self.mrp)
                       for encoder in encoders])

    def fuse(self, views: dict[str, Tensor]) -> Tensor:
        structure = views['structure']
        images = [views[name] for name in self.modalities]
        if self.form == 'port':
            return side_by_side(structure, *images, _units(images))
        image = sum(images[1:], images[0]) / len(images)
        parts = ([structure, image] if self.alpha is None else
                 [torch.lerp(structure, image, self.alpha)])
        return side_by_side(*parts, *(
            [views['cosine']] if 'cosine' in views else []))

    def query(self, x: Tensor, rel_type: Tensor, side: Side) -> Tensor:
        width = (2 if self.mixes else self.blocks) * 2 * self.hidden_channels
        unit = x[..., width:]
        out = super().query(self.factors(x, rel_type), rel_type, side)
        mrp = self.mrp[rel_type % self.num_relations].unsqueeze(-1)
        if self.mixes:  # The gate also fuses the candidate.
            gate = torch.sigmoid(-mrp)
            out = torch.cat([(1 - gate) * out, gate * out], dim=-1)
        if unit.size(-1) == 0:
            return out
        kept = (mrp < self.forget) | (self.forget >= 1)
        return side_by_side(self.beta * out, kept * ((1 - self.beta) * unit))

    def factors(self, x: Tensor, rel_type: Tensor) -> Tensor:
        r"""Returns the part of the representations that ComplEx scores,
        :obj:`[*, 2 * D]`.
        """
        channels = 2 * self.hidden_channels
        if not self.mixes:
            return x[..., :self.blocks * channels]
        gate = torch.sigmoid(-self.mrp[rel_type % self.num_relations])
        return torch.lerp(x[..., :channels], x[..., channels:2 * channels],
                          gate.unsqueeze(-1))


def _units(parts: list[Tensor]) -> Tensor:
    # The inner product of two results is the mean cosine of their parts.
    return side_by_side(*(F.normalize(x, dim=-1) / math.sqrt(len(parts))
                           for x in parts))


@torch.no_grad()
def mean_rank_percentage(x: Tensor, edge_index: Tensor, edge_type: Tensor,
                         num_relations: int) -> Tensor:
    r"""Returns the mean rank percentage :math:`MRP_r \in [0, 1]` of `RSME
    <https://dl.acm.org/doi/10.1145/3474085.3475470>`_, :obj:`[R]`. It measures
    how well the features of one node of a triple predict the other node. For a
    given node, the rank percentage is the share of nodes whose inner product
    with it is larger than the inner product of the true node. Ties count half.
    The mean is over all triples of a relation and both directions, and is one
    half for a relation without triples.

    Args:
        x (torch.Tensor): The features :obj:`[N, F]`.
        edge_index (torch.Tensor): The heads and tails :obj:`[2, E]`.
        edge_type (torch.Tensor): The relations :obj:`[E]`.
        num_relations (int): The number of relations :obj:`R`.
    """
    N = x.size(0)
    total, count = x.new_zeros(2, num_relations)
    for given, target in (edge_index, edge_index.flip(0)):
        # Sorting groups triples by their given node, which is scored only
        # once per part.
        for part in given.argsort().split(max(1, BLOCK // N)):
            node, row = given[part].unique(return_inverse=True)
            scores = (x[node] @ x.t())[row]
            own = scores.gather(1, target[part].unsqueeze(-1))
            above = (scores > own).sum(dim=1) - 0.5
            above += 0.5 * (scores == own).sum(dim=1)
            rel = edge_type[part]
            total.index_add_(0, rel, above.to(x) / max(1, N - 1))
            count.index_add_(0, rel, torch.ones_like(total[rel]))
    return torch.where(count > 0, total / count, 0.5)
