from __future__ import annotations

from typing import Optional

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import Embedding, Linear, ModuleDict
from torch_geometric.nn.inits import reset

from pyg_mmkgc.errors import ModelError, check_positive
from pyg_mmkgc.kernels.host import on_host, rows_of, to_device, true_places
from pyg_mmkgc.nn.encoded import Encoded
from pyg_mmkgc.nn.encoder import make_encoders
from pyg_mmkgc.nn.functional import side_by_side
from pyg_mmkgc.nn.kge.query import QueryModel
from pyg_mmkgc.nn.similarity import Distance
from pyg_mmkgc.typing import Side


class TransAE(QueryModel):
    r"""The TransAE model from the `"Multimodal Data Enhanced Representation
    Learning for Knowledge Graphs" <https://doi.org/10.1109/IJCNN.2019.8852079>`_
    paper, which applies TransE to the bottleneck of a feature autoencoder.
    Entities have no embedding of their own.

    .. math::
        \mathbf{v}^{(2)}_m = \sigma(\mathbf{W}^{(1)}_m \mathbf{v}^{(1)}_m),
        \quad \mathbf{v}^{(3)} = \sigma(\mathbf{W}^{(2)} [\mathbf{v}^{(2)}_1;
        \ldots; \mathbf{v}^{(2)}_M]), \quad [\mathbf{v}^{(4)}_1; \ldots;
        \mathbf{v}^{(4)}_M] = \sigma(\mathbf{W}^{(3)} \mathbf{v}^{(3)}),
        \quad \mathbf{v}^{(5)}_m = \mathbf{W}^{(4)}_m \mathbf{v}^{(4)}_m

        s(h, r, t) = \gamma - \| \mathbf{v}^{(3)}_h + \mathbf{r} -
        \mathbf{v}^{(3)}_t \|_1, \qquad \mathcal{L} = \mathcal{L}_{rank} +
        \beta \sum_m \mathrm{MSE}(\mathbf{v}^{(1)}_m, \mathbf{v}^{(5)}_m)

    with a bias in every layer. The paper puts the weight on
    :math:`\mathcal{L}_{rank}` instead. Since the output of a sigmoid cannot
    match features of arbitrary range, each feature channel is standardized
    here, and the last layer is linear. Each distinct entity of the positives
    is reconstructed once, and only the modalities that it has enter the loss.
    Negatives are not reconstructed. The authors' code is not public.

    Args:
        num_nodes (int): The number of nodes/entities :obj:`N` in the graph.
        num_relations (int): The number of relations in the graph.
        hidden_channels (int): The width of embeddings and hidden layers.
        modalities (dict[str, torch.Tensor]): The features :obj:`[N, F_m]` of
            each modality, at least one.
        masks (dict[str, torch.Tensor], optional): The mask :obj:`[N]` of the
            nodes that have each modality. (default: :obj:`None`)
        margin (float, optional): The margin :math:`\gamma`.
            (default: :obj:`12.0`)
        missing (str, optional): The policy for missing rows of
            :class:`~pyg_mmkgc.nn.ModalityEncoder`. (default: :obj:`"random"`)
        reconstruction_weight (float, optional): The weight :math:`\beta`. The
            default corresponds to a weight of 0.4 of the ranking loss in
            public code. (default: :obj:`2.5`)
        num_negatives (int, optional): The number of negatives in
            :meth:`loss`. (default: :obj:`128`)

    Raises:
        ModelError: If :obj:`margin` is not positive, if there is no modality,
            or if a node has several feature rows.
    """
    splits_batch = False
    similarity = Distance(group=1)

    def __init__(self, num_nodes: int, num_relations: int,
                 hidden_channels: int,
                 modalities: Optional[dict[str, Tensor]] = None,
                 masks: Optional[dict[str, Tensor]] = None,
                 margin: float = 12.0, missing: str = 'random',
                 reconstruction_weight: float = 2.5,
                 num_negatives: int = 128) -> None:
        super().__init__(num_nodes, num_relations, hidden_channels, modalities,
                         num_negatives)
        if not modalities or any(x.dim() != 2 for x in modalities.values()):
            shapes = {m: list(x.shape) for m, x in (modalities or {}).items()}
            raise ModelError("Expected 'modalities' of TransAE to hold "
                             f'features of shape [{num_nodes}, F] (got '
                             f'{shapes}). TransAE represents entities by '
                             'their features alone.')
        check_positive(margin=margin)
        self.margin, self.missing = margin, missing
        self.reconstruction_weight = reconstruction_weight
        self.node_emb = Embedding(0, hidden_channels)
        self.encoders = make_encoders(
            {name: _standardize(x, (masks or {}).get(name))
             for name, x in modalities.items()}, masks, hidden_channels,
            missing=missing)
        width = len(modalities) * hidden_channels
        self.bottleneck = Linear(width, hidden_channels)
        self.expand = Linear(hidden_channels, width)
        self.decoders = ModuleDict({
            name: Linear(hidden_channels, x.size(-1))
            for name, x in modalities.items()})
        self.reset_parameters()

    def reset_parameters(self) -> None:
        torch.nn.init.uniform_(self.rel_emb.weight, -1.0, 1.0)
        with torch.no_grad():  # As in TransE's initialization.
            self.rel_emb.weight.div_(self.rel_emb.weight.norm(
                dim=-1, keepdim=True))
        for layer in (self.encoders, self.bottleneck, self.expand,
                      self.decoders):
            reset(layer)

    def embed(self, index: Tensor) -> dict[str, Tensor]:
        return {name: encoder(index)
                for name, encoder in self.encoders.items()}

    def fuse(self, views: dict[str, Tensor]) -> Tensor:
        hidden = side_by_side(*(views[name].sigmoid()
                                for name in self.modalities))
        return self.bottleneck(hidden).to(hidden.dtype).sigmoid()

    def query(self, x: Tensor, rel_type: Tensor, side: Side) -> Tensor:
        rel = self.rel_emb(rel_type)
        return x + rel if side == 'tail' else x - rel

    def decode(self, x: Tensor) -> dict[str, Tensor]:
        r"""Reconstructs the features :math:`\mathbf{v}^{(5)}_m`,
        :obj:`[*, F_m]`, from representations :obj:`[*, C]`.
        """
        parts = self.expand(x).sigmoid().chunk(len(self.modalities), dim=-1)
        return {name: self.decoders[name](part).to(x.dtype)
                for name, part in zip(self.modalities, parts, strict=True)}

    def regularization(self, encoded: Encoded, rel_type: Tensor) -> Tensor:
        row = encoded.positives()
        out, device = encoded.table.new_zeros(()), encoded.table.device
        node = on_host(encoded.node)[on_host(row)]
        for name, x in self.decode(encoded.table[row]).items():
            there = true_places(
                on_host(self.encoders[name].get_buffer('mask'))[node])
            target = rows_of(self.encoders[name].get_buffer('x'),
                             to_device(node[there], device))
            if target.numel() > 0:
                out = out + F.mse_loss(x[to_device(there, device)],
                                       target.to(x.dtype))
        return self.reconstruction_weight * out


def _standardize(x: Tensor, mask: Optional[Tensor]) -> Tensor:
    present = x.float() if mask is None else x[mask].float()
    std, mean = torch.std_mean(present, dim=0, correction=0)
    return (x.float() - mean) / std.clamp_min(1e-6)
