from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Optional, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import LayerNorm, Linear, Module, ModuleDict
from torch.utils.checkpoint import checkpoint

from pyg_mmkgc.kernels.host import on_host, rows_of, to_device

# The largest intermediate tensor of a chunk has at most 64 MiB of floats.
BLOCK = 1 << 24
# Beyond 512 MiB of floats, views are recomputed in the backward pass.
KEEP = 1 << 27


class Patches(NamedTuple):
    r"""The part of a modality's view that does not depend on the relation."""
    x: Tensor  # The projected rows, [M, P, D].
    affinity: Tensor  # The products with rows of other modalities, [M, P, Q].
    attended: Tensor  # The normalized softmax attention, [M, Q, D].


class CrossModalAttention(Module):
    r"""The knowledge-guided cross-modal attention of the `"Relation-enhanced
    Negative Sampling for Multimodal Knowledge Graph Completion"
    <https://doi.org/10.1145/3503161.3548388>`_ paper.

    Let :math:`\mathbf{X} \in \mathbb{R}^{P \times D}` be the rows of one
    modality (*e.g.*, the patches of an image) and :math:`\mathbf{Y} \in
    \mathbb{R}^{Q \times D}` the rows of all other modalities, both after a
    projection and :math:`\mathrm{LeakyReLU}`. With :math:`\mathbf{C} =
    \mathbf{X} \mathbf{Y}^{\top}`, the view of an entity for a relation is

    .. math::
        \mathbf{W} \, \mathrm{vec} \left( \mathrm{LN} \big(
        \mathrm{softmax}(\mathbf{C}^{\top}) \mathbf{X} \big) + \mathrm{LN}
        \big( (\sigma(\mathbf{W}_1 \mathbf{r}) \odot \mathbf{C})^{\top}
        \mathbf{X} \big) \right)

    with the softmax over :math:`P`. The structural view is :math:`\mathbf{e}
    \odot \sigma(\mathbf{W}_3 \mathrm{LeakyReLU}(\mathbf{W}_2 [\mathbf{e};
    \mathbf{r}]))`. A feature vector counts as a single row, for which the
    normalization cancels the gate. With a single modality, :math:`\mathbf{Y}`
    holds the rows of this modality itself.

    Args:
        features (dict[str, torch.Tensor]): The rows of each modality,
            of shape :obj:`[N, P, F]` or :obj:`[N, F]`.
        node_channels (int): The width of :math:`\mathbf{e}`.
        relation_channels (int): The width of :math:`\mathbf{r}`.
        masks (dict[str, torch.Tensor], optional): The masks of available
            rows. Missing rows are set to zero. (default: :obj:`None`)
        hidden_channels (int, optional): The width :obj:`D`.
            (default: :obj:`50`)
    """
    step: Tensor

    def __init__(
        self,
        features: dict[str, Tensor],
        node_channels: int,
        relation_channels: int,
        masks: Optional[dict[str, Tensor]] = None,
        hidden_channels: int = 50,
    ) -> None:
        super().__init__()
        D = hidden_channels
        self.rows: dict[str, int] = {}
        for name, x in features.items():
            mask = (masks or {}).get(name)
            if mask is not None:
                x = x * mask.view(mask.shape + (1, ) * (x.dim() - mask.dim()))
            x = x.unsqueeze(1) if x.dim() == 2 else x
            self.rows[name] = x.size(1)
            # Features belong to the graph, so checkpoints leave them out.
            self.register_buffer(f'x_{name}', x, persistent=False)
        self.lin = ModuleDict({f'x_{name}': Linear(x.size(-1), D)
                               for name, x in features.items()})
        sizes = {name: sum(self.rows[other] for other in self.others(name))
                 for name in features}
        self.gate = ModuleDict({
            f'x_{name}': Linear(relation_channels, self.rows[name] * size)
            for name, size in sizes.items()})
        self.norm = ModuleDict({f'x_{name}': LayerNorm(D) for name in sizes})
        self.out = ModuleDict({f'x_{name}': Linear(size * D, D)
                               for name, size in sizes.items()})
        self.lin_node = Linear(node_channels + relation_channels, D)
        self.gate_node = Linear(D, node_channels)
        # The number of calls so far, which drives the temperature schedule.
        self.register_buffer('step', torch.zeros((), dtype=torch.long))
        self.reset_parameters()

    def _apply(self, *args: Any, **kwargs: Any) -> CrossModalAttention:
        super()._apply(*args, **kwargs)
        self.step = self.step.cpu()  # Reading it would wait for a device.
        return self

    def reset_parameters(self) -> None:
        r"""Resets all learnable parameters of the module."""
        for module in self.modules():
            if isinstance(module, Linear):
                torch.nn.init.xavier_normal_(module.weight)
                torch.nn.init.zeros_(module.bias)
            elif isinstance(module, LayerNorm):
                module.reset_parameters()

    def others(self, name: str) -> list[str]:
        r"""Returns the modalities that attend to :obj:`name`."""
        return [other for other in self.rows if other != name] or [name]

    def patches(self, index: Tensor) -> dict[str, Patches]:
        r"""Computes the relation-independent part of each modality's view for
        nodes of shape :obj:`[M]`.
        """
        x = {name: F.leaky_relu(self.lin[f'x_{name}'](rows_of(
            self.get_buffer(f'x_{name}'), index).to(self.lin_node.weight)),
            0.1)
            for name in self.rows}
        out = {}
        for name in self.rows:
            y = torch.cat([x[other] for other in self.others(name)], dim=1)
            affinity = x[name] @ y.mT
            out[name] = Patches(x[name], affinity, self.norm[f'x_{name}'](
                affinity.softmax(dim=1).mT @ x[name]))
        return out

    def forward(self, node: Tensor, own: Tensor, rel: Tensor, kind: Tensor,
                node_x: Tensor, own_x: Tensor) -> dict[str, Tensor]:
        r"""Returns the cosine similarities :obj:`[B, M]` between the entities
        of positives and the candidates, for each view.

        As in the released code, no gradient flows through the norms. The view
        of a candidate is computed once per relation instead of once per
        positive. If each modality has a single row, it is computed only once.

        Args:
            node (torch.Tensor): The candidates, :obj:`[M]`.
            own (torch.Tensor): The entities of the positives, :obj:`[B]`.
            rel (torch.Tensor): The embeddings of the distinct relations,
                :obj:`[R, C_r]`.
            kind (torch.Tensor): The row of :obj:`rel` of each positive,
                :obj:`[B]`.
            node_x (torch.Tensor): The embeddings of the candidates,
                :obj:`[M, C]`.
            own_x (torch.Tensor): The embeddings of the entities,
                :obj:`[B, C]`.
        """
        theirs, mine = self.patches(node), self.patches(own)
        kinds = on_host(kind)
        groups = to_device(kinds.argsort(stable=True), kind.device).split(
            kinds.bincount(minlength=rel.size(0)).tolist())
        out = {}
        for name in self.rows:
            P, Q = theirs[name].affinity.shape[1:]
            gate = self.gate[f'x_{name}'](rel).sigmoid().view(-1, P, Q)
            view = self._view(gate[kind], *mine[name], name)
            if P == Q == 1:
                out[name] = self._cosines_of_one_row(
                    gate[:, 0, 0], theirs[name], view, kind, name)
                continue
            size = max(P, theirs[name].x.size(2)) * Q
            out[name] = _cosines(
                lambda gate, x, affinity, attended, name=name: self._view(
                    gate, x, affinity, attended, name),
                gate, theirs[name], view, groups, size)
        # Projecting e and r separately avoids one [e; r] row per pair.
        on_node, on_rel = self.lin_node.weight.split(
            [node_x.size(1), rel.size(1)], dim=1)
        rel = F.linear(rel, on_rel, self.lin_node.bias)
        out['structure'] = _cosines(
            self._structure, rel, (node_x, F.linear(node_x, on_node)),
            self._structure(rel[kind], own_x, F.linear(own_x, on_node)),
            groups, 2 * node_x.size(1) + rel.size(1))
        return out

    def _view(self, gate: Tensor, x: Tensor, affinity: Tensor,
              attended: Tensor, name: str) -> Tensor:
        guided = torch.einsum('...mpq,mpd->...mqd', gate * affinity, x)
        guided = self.norm[f'x_{name}'](guided)
        return self.out[f'x_{name}']((attended + guided).flatten(-2))

    def _cosines_of_one_row(self, gate: Tensor, theirs: Patches, view: Tensor,
                            kind: Tensor, name: str) -> Tensor:
        r"""Returns the cosine similarities if both modalities have one row.

        In this case, the gate and the affinity merely scale the input of the
        normalization. A view has the form :math:`\mathbf{c} + s_{r,m}
        \mathbf{u}_m`, so relations can share :math:`\mathbf{u}_m`.
        """
        norm = cast(LayerNorm, self.norm[f'x_{name}'])
        lin = cast(Linear, self.out[f'x_{name}'])
        x = theirs.x[:, 0] - theirs.x[:, 0].mean(dim=-1, keepdim=True)
        var = x.square().mean(dim=-1)
        guided = gate[:, None] * theirs.affinity[:, 0, 0]  # [R, M]
        # The softmax over a single row is one.
        scale = (guided / (guided.square() * var + norm.eps).sqrt()
                 + (var + norm.eps).rsqrt())
        u = F.linear(x * norm.weight, lin.weight)  # [M, D]
        c = lin(2 * norm.bias)
        dot = (view @ c)[:, None] + scale[kind] * (view @ u.T)
        with torch.no_grad():
            square = c @ c + scale * (2 * (u @ c) + scale * u.square().sum(-1))
            length = square.clamp_min(0.0).sqrt()[kind]
        return _over(dot, length * view.norm(dim=-1, keepdim=True))

    def _structure(self, rel: Tensor, x: Tensor, hidden: Tensor) -> Tensor:
        hidden = F.leaky_relu(hidden + rel, 0.1)
        return x * self.gate_node(hidden).sigmoid()


def _cosines(function: Callable[..., Tensor], rel: Tensor,
             split: tuple[Tensor, ...], view: Tensor,
             groups: tuple[Tensor, ...], size: int) -> Tensor:
    r"""Returns the cosine similarities between the views of positives and the
    views that :obj:`function` computes for candidates, relation by relation.
    :obj:`groups` holds the rows of the positives of each relation.
    """
    def compare(rel: Tensor, view: Tensor, *part: Tensor) -> Tensor:
        return _cosine(view, function(rel, *part))

    step = max(1, BLOCK // size)  # Candidates of one relation per chunk.
    parts = list(zip(*(x.split(step) for x in split), strict=True))
    many = rel.size(0) * split[0].size(0) * size > KEEP
    out = torch.cat([
        torch.cat([checkpoint(compare, rel[r], view[rows], *part,
                              use_reentrant=False, preserve_rng_state=False)
                   if many else compare(rel[r], view[rows], *part)
                   for part in parts], dim=1)
        for r, rows in enumerate(groups)])
    return out[torch.cat(groups).argsort()]


def _cosine(x: Tensor, y: Tensor) -> Tensor:
    r"""Returns the cosine similarities :obj:`[B, M]` between rows of shape
    :obj:`[B, D]` and :obj:`[M, D]`.
    """
    return _over(x @ y.mT, x.norm(dim=-1, keepdim=True) * y.norm(dim=-1))


def _over(dot: Tensor, norm: Tensor) -> Tensor:
    # A node without features has a zero view as long as the biases are zero,
    # so its cosine similarity is set to zero to avoid a division by zero.
    norm = norm.detach()
    return torch.where(norm > 1e-8, dot / norm.clamp_min(1e-8), 0.0)
