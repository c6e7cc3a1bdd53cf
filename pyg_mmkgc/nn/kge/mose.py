from __future__ import annotations

from collections.abc import Callable
from typing import Optional

import torch
from torch import Tensor

from pyg_mmkgc.errors import ModelError
from pyg_mmkgc.nn.ensemble import Ensemble
from pyg_mmkgc.nn.fast_paths import FastPaths
from pyg_mmkgc.nn.functional import complex_product
from pyg_mmkgc.nn.kge.bilinear import BilinearScore
from pyg_mmkgc.nn.kge.bilinear_views import BilinearViews, side_by_side


class MoSE(BilinearViews):
    r"""The MoSE model from the `"MoSE: Modality Split and Ensemble for
    Multimodal Knowledge Graph Completion" <https://arxiv.org/abs/2210.08821>`_
    paper: one ComplEx per modality, with relations of its own, trained side
    by side and put together for inference only.

    .. math::
        s_m(h, r, t) &= \mathrm{Re} \langle \mathbf{e}_m(h), \mathbf{r}_m,
        \bar{\mathbf{e}}_m(t) \rangle, \qquad \mathbf{e}_m(h) =
        \tfrac{1}{\tau} \mathbf{P}_m \mathbf{f}_m(h) \\
        s(h, r, t) &= \sum_m w_{m,r} \, s_m(h, r, t)

    for the structure, whose :math:`\mathbf{e}_S` is a free embedding, and
    each modality. A loss on the scores of all nodes, and :meth:`loss`, is
    that of :math:`s_m`, summed over :math:`m`, as in the paper
    (:meth:`experts`); one with a sampler's negatives is that of :math:`s`.
    :class:`~pyg_mmkgc.nn.ensemble.Ensemble` has the weights, which
    :func:`~pyg_mmkgc.training.fit_ensemble` fits on validation triples, never
    on test triples as the released code.

    Missing rows are drawn in the range of the features, not from a standard
    normal distribution. N3 is added up over the modalities.

    Args:
        num_nodes (int): The number of nodes/entities :obj:`N` in the graph.
        num_relations (int): The number of relations :obj:`R` in the graph.
        hidden_channels (int): The complex dimension :obj:`D`.
        modalities (dict[str, torch.Tensor]): The features :obj:`[N, F_m]`.
        masks (dict[str, torch.Tensor], optional): Who has it, :obj:`[N]`.
        ensemble (str, optional): :obj:`"mean"`, :obj:`"boosted"` or
            :obj:`"learned"`. (default: :obj:`"mean"`)
        scale (float, optional): :math:`\tau`. (default: :obj:`20.0`)
        missing (str, optional): The policy for missing rows.
            (default: :obj:`"random"`)
        reciprocal, n3, num_negatives, sparse (optional): As for
            :class:`~pyg_mmkgc.nn.ComplEx`.
    """
    def __init__(self, num_nodes: int, num_relations: int,
                 hidden_channels: int,
                 modalities: Optional[dict[str, Tensor]] = None,
                 masks: Optional[dict[str, Tensor]] = None,
                 ensemble: str = 'mean', scale: float = 20.0,
                 missing: str = 'random', reciprocal: bool = False,
                 n3: float = 0.0, num_negatives: int = 128,
                 sparse: bool = False) -> None:
        super().__init__(num_nodes, num_relations, hidden_channels, modalities,
                         masks, missing, reciprocal=reciprocal, n3=n3,
                         num_negatives=num_negatives, sparse=sparse,
                         blocks=1 + len(modalities or {}))
        if not scale > 0:
            raise ModelError(f'expected scale > 0, got {scale}')
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

    def experts(self, table: Tensor) -> list[tuple[FastPaths, Tensor]]:
        return [(Expert(self, m), rows) for m, rows in enumerate(
            table.chunk(self.blocks, dim=-1))]

    def score(self, head: Tensor, rel_type: Tensor, tail: Tensor) -> Tensor:
        tails = iter(tail.chunk(self.blocks, dim=-1))
        return self._combine(rel_type, lambda expert, rows: expert.score(
            rows, rel_type, next(tails)), head)

    def score_candidates(self, table: Tensor, head: Tensor, rel_type: Tensor,
                         tail: Tensor, index: Tensor,
                         corrupt_head: Tensor) -> Tensor:
        heads, tails = (iter(x.chunk(self.blocks, dim=-1))
                        for x in (head, tail))
        return self._combine(
            rel_type.unsqueeze(-1),
            lambda expert, rows: expert.score_candidates(
                rows, next(heads), rel_type, next(tails), index,
                corrupt_head), table)

    def score_tails(self, head_index: Tensor, rel_type: Tensor,
                    table: Optional[Tensor] = None) -> Tensor:
        return self._combine(
            rel_type.unsqueeze(-1),
            lambda expert, rows: expert.score_tails(head_index, rel_type,
                                                    rows),
            self.encode() if table is None else table)

    def score_heads(self, rel_type: Tensor, tail_index: Tensor,
                    table: Optional[Tensor] = None) -> Tensor:
        return self._combine(
            rel_type.unsqueeze(-1),
            lambda expert, rows: expert.score_heads(rel_type, tail_index,
                                                    rows),
            self.encode() if table is None else table)

    def _combine(self, rel_type: Tensor,
                 score: Callable[[FastPaths, Tensor], Tensor],
                 table: Tensor) -> Tensor:
        return self.combine(torch.stack([
            score(expert, rows) for expert, rows in self.experts(table)],
            dim=-1), rel_type)


class Expert(BilinearScore):
    r"""The ComplEx of one modality of a :class:`MoSE`."""
    def __init__(self, model: MoSE, block: int) -> None:
        self.num_relations = model.num_relations
        self.reciprocal = model.reciprocal
        self.model, self.block = model, block

    def query(self, x: Tensor, rel_type: Tensor,
              adjoint: bool = False) -> Tensor:
        rel = self.model.rel_emb(rel_type).chunk(self.model.blocks, dim=-1)
        return complex_product(x, rel[self.block], conjugate=adjoint)
