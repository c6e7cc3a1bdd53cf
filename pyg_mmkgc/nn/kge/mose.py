from __future__ import annotations

from collections.abc import Callable
from typing import Any, Optional

import torch
from torch import Tensor
from torch.nn import Linear, ReLU, Sequential
from torch_geometric.nn.inits import reset

from pyg_mmkgc.errors import ModelError, check_positive
from pyg_mmkgc.nn.functional import complex_product, side_by_side
from pyg_mmkgc.nn.kge.base import TripleModel
from pyg_mmkgc.nn.kge.bilinear import BilinearViews
from pyg_mmkgc.nn.kge.query import QueryForms
from pyg_mmkgc.nn.similarity import InnerProduct
from pyg_mmkgc.typing import Side

ENSEMBLES = ('mean', 'boosted', 'learned')
# The number of scores that pass through the hidden layer at once, which
# limits its activations to 64 MiB.
BLOCK = 1 << 19


class MoSE(BilinearViews):
    r"""The MoSE model from the `"MoSE: Modality Split and Ensemble for
    Multimodal Knowledge Graph Completion" <https://arxiv.org/abs/2210.08821>`_
    paper. It trains one ComplEx per modality, each with its own relation
    embeddings, and combines their scores only for inference.

    .. math::
        s_m(h, r, t) &= \mathrm{Re} \langle \mathbf{e}_m(h), \mathbf{r}_m,
        \bar{\mathbf{e}}_m(t) \rangle, \qquad \mathbf{e}_m(h) =
        \tfrac{1}{\tau} \mathbf{P}_m \mathbf{f}_m(h) \\
        s(h, r, t) &= \sum_m w_{m,r} \, s_m(h, r, t)

    The index :math:`m` covers all modalities and the structure, whose
    :math:`\mathbf{e}_S` is a trained embedding. As in the paper,
    :meth:`loss` and losses on the scores of all nodes are computed for each
    :math:`s_m` and summed over :math:`m`, see :meth:`experts`. Losses on the
    negatives of a sampler are computed for the combined score :math:`s`. The
    weights are part of :obj:`combine`, which
    :func:`~pyg_mmkgc.training.fit_ensemble` fits on validation triples. The
    released code fits them on test triples.

    Missing rows are drawn in the range of the features, not from a standard
    normal distribution. N3 is summed over the modalities.

    Args:
        num_nodes (int): The number of nodes/entities :obj:`N` in the graph.
        num_relations (int): The number of relations :obj:`R` in the graph.
        hidden_channels (int): The complex dimension :obj:`D`.
        modalities (dict[str, torch.Tensor]): The features :obj:`[N, F_m]` of
            each modality, at least one.
        masks (dict[str, torch.Tensor], optional): The mask :obj:`[N]` of the
            nodes that have each modality. (default: :obj:`None`)
        ensemble (str, optional): The mode of :obj:`Ensemble`,
            :obj:`"mean"`, :obj:`"boosted"` or :obj:`"learned"`.
            (default: :obj:`"mean"`)
        scale (float, optional): The divisor :math:`\tau` of the modality
            embeddings. (default: :obj:`20.0`)
        missing (str, optional): The policy for missing rows.
            (default: :obj:`"random"`)
        **kwargs (optional): :obj:`reciprocal`, :obj:`n3`, :obj:`l3`,
            :obj:`num_negatives` and :obj:`sparse`, as for
            :class:`~pyg_mmkgc.nn.ComplEx`.

    Raises:
        ModelError: If an argument is out of range, or there is no modality.
    """
    def __init__(self, num_nodes: int, num_relations: int,
                 hidden_channels: int,
                 modalities: Optional[dict[str, Tensor]] = None,
                 masks: Optional[dict[str, Tensor]] = None,
                 ensemble: str = 'mean', scale: float = 20.0,
                 missing: str = 'random', **kwargs: Any) -> None:
        self.blocks = 1 + len(modalities or {})
        super().__init__(num_nodes, num_relations, hidden_channels, modalities,
                         masks, missing, **kwargs)
        check_positive(scale=scale)
        self.ensemble, self.scale = ensemble, scale
        self.combine = Ensemble(ensemble, num_relations, self.blocks)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        super().reset_parameters()
        self.combine.reset_parameters()

    def embed(self, index: Tensor) -> dict[str, Tensor]:
        return {name: x if name == 'structure' else x / self.scale
                for name, x in super().embed(index).items()}

    def fuse(self, views: dict[str, Tensor]) -> Tensor:
        return side_by_side(views['structure'], *(
            views[name] for name in self.modalities))

    def combiner(self) -> Ensemble:
        return self.combine

    def experts(self, table: Tensor) -> list[tuple[TripleModel, Tensor]]:
        return [(Expert(self, m), rows) for m, rows in enumerate(
            table.chunk(self.blocks, dim=-1))]

    def score(self, head: Tensor, rel_type: Tensor, tail: Tensor) -> Tensor:
        return self._combine(rel_type, lambda expert, h, t: expert.score(
            h, rel_type, t), head, tail)

    def candidate_scores(self, table: Tensor, head: Tensor, rel_type: Tensor,
                         tail: Tensor, index: Tensor,
                         corrupt_head: Tensor) -> Tensor:
        return self._combine(
            rel_type.unsqueeze(-1),
            lambda expert, rows, h, t: expert.candidate_scores(
                rows, h, rel_type, t, index, corrupt_head), table, head, tail)

    def node_scores(self, x: Tensor, rel_type: Tensor, side: Side,
                    table: Tensor) -> Tensor:
        return self._combine(
            rel_type.unsqueeze(-1), lambda expert, x, rows: expert.node_scores(
                x, rel_type, side, rows), x, table)

    def _combine(self, rel_type: Tensor, score: Callable[..., Tensor],
                 *rows: Tensor) -> Tensor:
        parts = zip(*(x.chunk(self.blocks, dim=-1) for x in rows),
                    strict=True)
        return self.combine(torch.stack([
            score(Expert(self, m), *part) for m, part in enumerate(parts)],
            dim=-1), rel_type)


class Expert(QueryForms):
    r"""The ComplEx model of one modality in :class:`MoSE`."""
    similarity = InnerProduct()

    def __init__(self, model: MoSE, block: int) -> None:
        self.num_relations = model.num_relations
        self.reciprocal = model.reciprocal
        self.model, self.block = model, block

    def query(self, x: Tensor, rel_type: Tensor, side: Side) -> Tensor:
        rel = self.model.rel_emb(rel_type).chunk(self.model.blocks, dim=-1)
        return complex_product(x, rel[self.block], conjugate=side == 'head')


class Ensemble(torch.nn.Module):
    r"""Combines the scores of :math:`M` experts into one score, in one of the
    three modes of `MoSE <https://arxiv.org/abs/2210.08821>`_. The ensemble is
    not trained with the experts, but fitted on validation triples by
    :func:`~pyg_mmkgc.training.fit_ensemble`. Before that, it returns the mean
    in every mode.

    .. math::
        s = \sum_m w_{m,r} \, s_m + \mathrm{MLP}(s_1, \ldots, s_M)

    Args:
        mode (str): :obj:`"mean"` averages the scores. :obj:`"boosted"` has
            weights :math:`w_{m,r}` for each relation. :obj:`"learned"` adds
            the output of a perceptron with one hidden layer to the mean. In
            the paper, the output of the perceptron alone is the score. It
            passes through a ReLU, so many nodes tie at zero.
        num_relations (int): The number of relations :obj:`R`.
        num_experts (int): The number of experts :math:`M`.
        hidden_channels (int, optional): The width of the hidden layer.
            (default: :obj:`32`)

    Raises:
        ModelError: If the mode is unknown.
    """
    weight: Tensor

    def __init__(self, mode: str, num_relations: int, num_experts: int,
                 hidden_channels: int = 32) -> None:
        super().__init__()
        if mode not in ENSEMBLES:
            raise ModelError("Expected 'ensemble' to be one of "
                             f"{', '.join(map(repr, ENSEMBLES))} (got "
                             f'{mode!r})')
        self.mode = mode
        self.register_buffer('weight', torch.empty(num_relations, num_experts))
        self.mlp = Sequential() if mode != 'learned' else Sequential(
            Linear(num_experts, hidden_channels), ReLU(),
            Linear(hidden_channels, 1))
        self.mlp.requires_grad_(False)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        r"""Resets the ensemble to the mean of the scores."""
        self.weight.fill_(1 / self.weight.size(1))
        if len(self.mlp) > 0:
            reset(self.mlp)
            for param in self.mlp[2].parameters():
                param.zero_()

    def forward(self, scores: Tensor, rel_type: Tensor) -> Tensor:
        r"""Combines the scores :obj:`[*, M]` of the experts into scores
        :obj:`[*]`, for relations :obj:`[*]`, which broadcast.
        """
        # A reciprocal relation shares the weights of its relation.
        out = (scores * self.weight[rel_type % self.weight.size(0)]).sum(-1)
        if len(self.mlp) == 0:
            return out
        flat = scores.reshape(-1, scores.size(-1))
        more = torch.cat([self.mlp(part) for part in flat.split(BLOCK)])
        return out + more.view(scores.shape[:-1])

    def extra_repr(self) -> str:
        return f'mode={self.mode!r}'
