from __future__ import annotations

import math
from typing import Any, Optional

import torch
from torch import Tensor

from pyg_mmkgc.errors import ModelError
from pyg_mmkgc.kernels.host import true_places
from pyg_mmkgc.nn.kge.bilinear import BilinearViews

# The number of nodes over which plans are averaged and the weight of their
# entropy, as in the released code.
NODES, STRENGTH = 10, 10.0


class OTKGE(BilinearViews):
    r"""The OTKGE model from the `"OTKGE: Multi-modal Knowledge Graph
    Embeddings via Optimal Transport" <https://proceedings.neurips.cc/
    paper_files/paper/2022/hash/
    ffdb280e7c7b4c4af30e04daf5a84b98-Abstract-Conference.html>`_ paper. It
    transports each modality into the space of the structure, and scores the
    weighted sum as in :class:`~pyg_mmkgc.nn.ComplEx`.

    .. math::
        \mathbf{e} &= \big( 1 - \sum_m \alpha_m \big) \, \mathbf{e}_S +
        \sum_m \alpha_m \mathbf{T}_m^{\top} \mathbf{f}_m, \qquad
        \mathbf{T}_m = 2 D c \, \Pi_m + \Delta_m \\
        s(h, r, t) &= \mathrm{Re} \langle \mathbf{e}_h, \mathbf{r},
        \bar{\mathbf{e}}_t \rangle

    The plan :math:`\Pi_m` :obj:`[F_m, 2 * D]` is the mean of the entropic
    transport plans of ten nodes. The plan of a node moves the channels of its
    features to the channels of its structural embedding at the cost
    :math:`c \, (f_p - e_q)^2`. Plans have no gradient, while :math:`\Delta_m`
    is trained. The paper also minimizes the Wasserstein distance. As in the
    released code, it is not part of the loss here.

    The released code recomputes the plans in each step for the first ten
    nodes. Here, they are recomputed every :obj:`refresh` steps for the first
    ten nodes with the modality, in the log domain. The released code divides
    N3 by the rank instead of the batch size, so that its weight corresponds to
    :obj:`B / D` times that weight here. The class weights of its loss are left
    out.

    Args:
        num_nodes (int): The number of nodes/entities :obj:`N` in the graph.
        num_relations (int): The number of relations :obj:`R` in the graph.
        hidden_channels (int): The complex dimension :obj:`D`.
        modalities (dict[str, torch.Tensor]): The features :obj:`[N, F_m]` of
            each modality, at least one.
        masks (dict[str, torch.Tensor], optional): The mask :obj:`[N]` of the
            nodes that have each modality. (default: :obj:`None`)
        alpha (dict[str, float], optional): The weight :math:`\alpha_m` of
            each modality. Their sum is at most one. (default: :obj:`None`,
            equal weights with a sum of :obj:`0.8`)
        scale (float, optional): The scale :math:`c` of the costs.
            (default: :obj:`100.0`)
        refresh (int, optional): The number of steps after which the plans are
            recomputed. (default: :obj:`100`)
        missing (str, optional): The policy for missing rows.
            (default: :obj:`"zeros"`)
        **kwargs (optional): :obj:`reciprocal`, :obj:`n3`, :obj:`l3`,
            :obj:`num_negatives` and :obj:`sparse`, as for
            :class:`~pyg_mmkgc.nn.ComplEx`.

    Raises:
        ModelError: If an argument is out of range, or there is no modality.
    """
    needs_table = True
    steps: Tensor

    def __init__(self, num_nodes: int, num_relations: int,
                 hidden_channels: int,
                 modalities: Optional[dict[str, Tensor]] = None,
                 masks: Optional[dict[str, Tensor]] = None,
                 alpha: Optional[dict[str, float]] = None,
                 scale: float = 100.0, refresh: int = 100,
                 missing: str = 'zeros', **kwargs: Any) -> None:
        super().__init__(num_nodes, num_relations, hidden_channels, modalities,
                         masks, missing, **kwargs)
        if alpha is None:
            alpha = {m: 0.8 / len(self.modalities) for m in self.modalities}
        if (set(alpha) != set(self.modalities) or sum(alpha.values()) > 1
                or min(alpha.values()) < 0):
            raise ModelError("Expected 'alpha' to be at least 0 for each of "
                             f'{self.modalities} and at most 1 in total (got '
                             f'{alpha})')
        if not scale > 0 or refresh < 1:
            raise ModelError("Expected 'scale' to be positive and 'refresh' "
                             f'to be at least 1 (got {scale} and {refresh})')
        self.alpha, self.scale, self.refresh = alpha, scale, refresh
        self.register_buffer('steps', torch.zeros((), dtype=torch.long))
        for name in self.modalities:
            self.register_buffer(f'transported_{name}', torch.zeros(
                num_nodes, 2 * hidden_channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        super().reset_parameters()
        self.steps.zero_()
        self.update_transport()

    def before_step(self, head_index: Tensor, rel_type: Tensor,
                    tail_index: Tensor) -> None:
        if int(self.steps) % self.refresh == 0:
            self.update_transport()
        self.steps += 1

    def _apply(self, *args: Any, **kwargs: Any) -> OTKGE:
        super()._apply(*args, **kwargs)
        self.steps = self.steps.cpu()  # Reading it would wait for a device.
        return self

    @torch.no_grad()
    def update_transport(self) -> None:
        r"""Recomputes the plans :math:`\Pi_m` from the current embeddings, and
        transports all features by :math:`2 D c \, \Pi_m`.
        """
        encoders: Any = self.encoders.items()
        for name, encoder in encoders:
            out = self.get_buffer(f'transported_{name}')
            x = encoder.features().to(out)
            node = true_places(encoder.mask)[:NODES]
            if node.numel() > 0:
                e = self.node_emb.weight[node]
                cost = self.scale * (x[node].unsqueeze(-1) -
                                     e.unsqueeze(1)).square()
                plan = transport_plan(cost, STRENGTH).mean(dim=0)
                out.copy_(x @ (e.size(1) * self.scale * plan))

    def embed(self, index: Tensor) -> dict[str, Tensor]:
        views = super().embed(index)
        for name in self.modalities:
            moved = self.get_buffer(f'transported_{name}')[index]
            views[name] = views[name] + moved
        return views

    def fuse(self, views: dict[str, Tensor]) -> Tensor:
        out = (1 - sum(self.alpha.values())) * views['structure']
        for name, alpha in self.alpha.items():
            out = out + alpha * views[name]
        return out


@torch.no_grad()
def transport_plan(cost: Tensor, strength: float,
                   max_iterations: int = 1000,
                   tolerance: float = 1e-6) -> Tensor:
    r"""Computes entropic optimal transport plans between uniform marginals by
    `Sinkhorn's iteration <https://arxiv.org/abs/1306.0895>`_. The iteration
    uses the logarithms of the scalings, so that large costs do not underflow.

    .. math::
        \Pi = \arg\min_{\Pi} \langle \Pi, \mathbf{C} \rangle - \epsilon
        H(\Pi), \qquad \Pi \mathbf{1} = \tfrac{1}{P} \mathbf{1}, \quad
        \Pi^{\top} \mathbf{1} = \tfrac{1}{Q} \mathbf{1}

    Args:
        cost (torch.Tensor): The costs :math:`\mathbf{C}`, :obj:`[*, P, Q]`.
        strength (float): The weight :math:`\epsilon` of the entropy.
        max_iterations (int, optional): The maximum number of iterations.
            (default: :obj:`1000`)
        tolerance (float, optional): The change of the logarithms below which
            the iteration stops. (default: :obj:`1e-6`)

    Returns:
        The plans :math:`\Pi`, :obj:`[*, P, Q]`.
    """
    kernel = -cost / strength
    P, Q = kernel.shape[-2:]
    column = kernel.new_zeros(*kernel.shape[:-2], 1, Q)
    on_cpu = cost.device.type == 'cpu'
    done = kernel.new_zeros((), dtype=torch.bool)
    last = kernel.new_zeros(*kernel.shape[:-2], P, 1)
    for _ in range(max_iterations):
        row = -math.log(P) - (kernel + column).logsumexp(-1, keepdim=True)
        before = column
        column = -math.log(Q) - (kernel + row).logsumexp(-2, keepdim=True)
        change = (column - before).abs().max()
        if on_cpu:
            if float(change) <= tolerance:
                break
        else:  # Reading the change would wait for it.
            row, column = (torch.where(done, old, new) for old, new in (
                (last, row), (before, column)))
            done, last = done | (change <= tolerance), row
    return (kernel + row + column).exp()
