from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import Embedding, Linear, ModuleDict
from torch_geometric.nn.inits import reset

from pyg_mmkgc.errors import ModelError
from pyg_mmkgc.nn.kge.adamf import AdaMF
from pyg_mmkgc.nn.kge.query import distinct_pairs
from pyg_mmkgc.typing import Side

NEVER = -1e9  # The logit of an absent view.


class NativE(AdaMF):
    r"""The NativE model from the `"NativE: Multi-modal Knowledge Graph
    Completion in the Wild" <https://arxiv.org/abs/2406.17605>`_ paper, which
    makes the adaptive fusion of :class:`~pyg_mmkgc.nn.AdaMF` depend on the
    relation.

    .. math::
        \alpha_m(e, r) = \frac{\exp(\mathbf{w}^{\top} \tanh(\mathbf{e}_m) /
        \sigma(g_r))}{\sum_n \exp(\mathbf{w}^{\top} \tanh(\mathbf{e}_n) /
        \sigma(g_r))}, \qquad \mathbf{e}_r = \sum_m \alpha_m(e, r)
        \mathbf{e}_m

        s(h, r, t) = \gamma - \sum_{i=1}^{D} \left| h_{r,i} \,
        e^{\mathrm{i} \theta_{r,i}} - t_{r,i} \right|

    where :math:`g_r` is a scalar, and two layers with a ReLU project the
    features to :math:`\mathbf{e}_m`. The representation concatenates the views
    and their logits, and :meth:`key` fuses them. The paper's adversarial
    training is available as :class:`~pyg_mmkgc.training.CoMAT`. The released
    code also pools features to 256 channels and trains some of them. Its
    script for MKG-W and MKG-Y, but not the one for DB15K, adds a regularizer
    with the weight :obj:`1e-5`, which is left out here: a third of the sum of
    the mean squares of the structural embeddings of heads and of tails and of
    the relation embeddings, over positives and negatives.

    Args:
        *args: The arguments of :class:`~pyg_mmkgc.nn.AdaMF` before
            :obj:`fusion`.
        fusion (str, optional): :obj:`"shared"` learns one vector
            :math:`\mathbf{w}` for all views, :obj:`"adaptive"` one vector per
            view. (default: :obj:`"shared"`)
        **kwargs (optional): Additional arguments of
            :class:`~pyg_mmkgc.nn.AdaMF`.

    Raises:
        ModelError: If :obj:`fusion` is :obj:`"mean"` or unknown, or for the
            same reasons as :class:`~pyg_mmkgc.nn.AdaMF`.
    """
    key_depends_on = 'relation'

    def __init__(self, *args: Any, fusion: str = 'shared',
                 **kwargs: Any) -> None:
        if fusion == 'mean':
            raise ModelError("Expected 'fusion' to be 'shared' or 'adaptive' "
                             "(got 'mean')")
        kwargs['fusion'] = fusion
        super().__init__(*args, **kwargs)
        C = 2 * self.hidden_channels
        self.lins = ModuleDict({m: Linear(C, C) for m in self.modalities})
        self.temperature = Embedding(self.num_relations, 1)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        super().reset_parameters()
        if hasattr(self, 'temperature'):  # Not yet set in AdaMF.
            bound = (self.margin + 2.0) / (2 * self.hidden_channels)
            torch.nn.init.uniform_(self.temperature.weight, -bound, bound)
            reset(self.lins)

    def embed(self, index: Tensor) -> dict[str, Tensor]:
        views = super().embed(index)
        for name, lin in self.lins.items():
            out = lin(views[name].relu()).to(views[name].dtype)
            if self.fuser.skip_absent:  # Missing views stay zero.
                absent = (views[name] == 0).all(dim=-1, keepdim=True)
                out = out.masked_fill(absent, 0.0)
            views[name] = out
        return views

    def fuse(self, views: dict[str, Tensor]) -> Tensor:
        x = torch.stack(torch.broadcast_tensors(
            *(views[name] for name in self.fuser.names)), dim=-2)
        # The softmax is sensitive to rounding, so logits stay in full
        # precision.
        with torch.autocast(x.device.type, enabled=False):
            logit = (x.tanh() * self.fuser.weight).sum(dim=-1)
        if self.fuser.skip_absent:
            logit = logit.masked_fill((x == 0).all(dim=-1), NEVER)
        return torch.cat([x.flatten(-2), logit], dim=-1)

    def weights(self, logit: Tensor, rel_type: Tensor) -> Tensor:
        r"""Returns the weights :math:`\alpha`, :obj:`[*, M]`, from logits
        :obj:`[*, M]` and relations :obj:`[*]`.
        """
        return (logit / self.temperature(rel_type).sigmoid()).softmax(dim=-1)

    def modality_weights(self, index: Tensor,
                         rel_type: Tensor) -> dict[str, Tensor]:
        names = self.fuser.names
        alpha = self.weights(self.encode(index)[..., -len(names):], rel_type)
        return dict(zip(names, alpha.unbind(dim=-1), strict=True))

    def key(self, x: Tensor, rel_type: Tensor, side: Side) -> Tensor:
        r"""Returns the joint embeddings :obj:`[*, 2 * D]` of representations
        :obj:`[*, M * (2 * D + 1)]` for relations :obj:`[*]`.
        """
        M = len(self.fuser.names)
        alpha = self.weights(x[..., -M:], rel_type)
        # Only projections run in half precision.
        with torch.autocast(x.device.type, enabled=False):
            return torch.einsum('...m,...mc->...c', alpha,
                                x[..., :-M].unflatten(-1, (M, -1)))

    def query(self, x: Tensor, rel_type: Tensor, side: Side) -> Tensor:
        return super().query(self.key(x, rel_type, side), rel_type, side)

    def candidate_scores(self, table: Tensor, head: Tensor, rel_type: Tensor,
                         tail: Tensor, index: Tensor,
                         corrupt_head: Tensor) -> Tensor:
        # The general form copies all views of a node once per relation. An
        # embedding bag sums them without a copy.
        M, (row, rel, place) = len(self.fuser.names), distinct_pairs(
            table, rel_type, index)
        alpha = self.weights(table[:, -M:][row], rel)
        views = table[:, :-M].unflatten(-1, (M, -1)).flatten(0, 1)
        key = F.embedding_bag(
            row[:, None] * M + torch.arange(M, device=row.device), views,
            mode='sum', per_sample_weights=alpha)
        query = torch.stack([self.query(head, rel_type, 'tail'),
                             self.query(tail, rel_type, 'head')])
        return self.margin + self.similarity.candidates(query, key, place,
                                                        corrupt_head)
