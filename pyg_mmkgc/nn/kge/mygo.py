from __future__ import annotations

from typing import Optional

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import (
    Embedding,
    LayerNorm,
    ModuleDict,
    Parameter,
    ParameterDict,
    TransformerEncoder,
    TransformerEncoderLayer,
)
from torch_geometric.nn.inits import reset

from pyg_mmkgc.errors import (
    ModelError,
    check_not_negative,
    check_positive,
    check_whole,
)
from pyg_mmkgc.kernels.host import on_host, sum_where, to_device
from pyg_mmkgc.nn.encoded import Encoded
from pyg_mmkgc.nn.encoder import ModalityEncoder, make_encoders
from pyg_mmkgc.nn.kge.reciprocal import ReciprocalForms, ReciprocalModel
from pyg_mmkgc.nn.tucker import tucker

NODES = 512  # The maximum number of entities contrasted in a step.


class MyGO(ReciprocalForms, ReciprocalModel):
    r"""The MyGO model from the `"Tokenization, Fusion, and Augmentation:
    Towards Fine-grained Multi-modal Entity Representation"
    <https://arxiv.org/abs/2404.09468>`_ paper. It encodes an entity from the
    tokens of its modalities by a transformer.

    The tokens :math:`\mathbf{f}_{m,i}` of a modality are the feature rows of
    an entity, such as the embeddings of the word pieces of its description.
    They are frozen. With the layer norm :math:`\mathrm{LN}`, a learned
    embedding of each modality :math:`\mathbf{p}_m`, and a structural token,
    the representation is the output at the first token :math:`\mathbf{c}`:

    .. math::
        \mathbf{x}_e = \mathrm{Transformer} \big( \mathbf{c}, \;
        \mathrm{LN}(\mathbf{e}) + \mathbf{p}_S, \; \mathrm{LN}(\mathbf{W}_m
        \mathbf{f}_{m,i} + \mathbf{b}_m) + \mathbf{p}_m, \ldots \big)_0

    A second transformer encodes a query, in which a learned token
    :math:`\mathbf{l}` stands for the tail, and its outputs
    :math:`\mathbf{q}_r` and :math:`\mathbf{q}_l` at the last two positions are
    compared with candidates by the core tensor :math:`\mathcal{W}` of
    `TuckER <https://arxiv.org/abs/1901.09590>`_:

    .. math::
        [\mathbf{q}_h, \mathbf{q}_r, \mathbf{q}_l] &= \mathrm{Transformer}(
        \mathbf{x}_h + \mathbf{o}_1, \; \mathrm{LN}(\mathbf{r}) + \mathbf{o}_2,
        \; \mathbf{l} + \mathbf{o}_3) \\
        s(h, r, t) &= \mathrm{LN} \big( \mathcal{W} \times_1 \mathbf{q}_r
        \times_2 \mathrm{LN}(\mathbf{q}_l) \big) \cdot \mathbf{x}_t

    The loss of the paper is :class:`~pyg_mmkgc.nn.OneVsAllLoss`.
    :meth:`regularization` adds its fine-grained contrastive loss. It compares
    the representations of the entities of a step with outputs
    :math:`\mathbf{x}'` of a second pass with different dropout masks: the
    output at the first token, the mean over all tokens, and the mean over the
    tokens of each modality. With the cosine :math:`\cos` and :math:`T` such
    targets,

    .. math::
        \mathcal{L}_{con} = -\frac{\mu}{T} \sum_{j=1}^{T} \frac{1}{B} \sum_b
        \log \frac{\exp(\cos(\mathbf{x}_b, \mathbf{x}'_{j,b}) / \tau)}
        {\sum_{b'} \exp(\cos(\mathbf{x}_b, \mathbf{x}'_{j,b'}) / \tau)}

    Four details differ from the released code. Reciprocal relations encode the
    direction of a query, which the released code encodes by the position of
    :math:`\mathbf{l}`. Layer norms replace its batch norms around the core
    tensor, so that the score of a triple does not depend on its batch. The
    entities of a step are contrasted, whereas the released code contrasts
    entities drawn from the whole graph, which takes a second pass over all of
    them. Its means over tokens include padding, which is left out here.

    Args:
        num_nodes (int): The number of nodes/entities :obj:`N` in the graph.
        num_relations (int): The number of relations :obj:`R` in the graph.
        hidden_channels (int): The width of tokens and representations.
        modalities (dict[str, torch.Tensor]): The tokens :obj:`[N, I, F_m]` of
            each modality, or a single token :obj:`[N, F_m]`. At least one
            modality is required.
        masks (dict[str, torch.Tensor], optional): The mask of the tokens that
            a node has, :obj:`[N, I]` or :obj:`[N]`. Other tokens are left out.
            (default: :obj:`None`)
        num_heads (int, optional): The number of attention heads.
            (default: :obj:`2`)
        num_layers (int, optional): The number of layers of the transformer of
            queries. The transformer of entities has one layer.
            (default: :obj:`1`)
        dropout (float, optional): The dropout rate of modality tokens, of both
            transformers, and of the input and output of the core tensor.
            (default: :obj:`0.1`)
        structure_dropout (float, optional): The dropout rate of the structural
            token and of relations. (default: :obj:`0.6`)
        contrast (float, optional): The weight :math:`\mu` of the contrastive
            loss. (default: :obj:`0.01`)
        temperature (float, optional): The temperature :math:`\tau`.
            (default: :obj:`0.5`)
        num_negatives (int, optional): The number of negatives in
            :meth:`loss`. (default: :obj:`128`)

    Raises:
        ModelError: If an argument is out of range, if there is no modality, or
            if :obj:`hidden_channels` is not divisible by :obj:`num_heads`.
    """
    splits_batch = False

    def __init__(self, num_nodes: int, num_relations: int,
                 hidden_channels: int,
                 modalities: Optional[dict[str, Tensor]] = None,
                 masks: Optional[dict[str, Tensor]] = None,
                 num_heads: int = 2, num_layers: int = 1,
                 dropout: float = 0.1, structure_dropout: float = 0.6,
                 contrast: float = 0.01, temperature: float = 0.5,
                 num_negatives: int = 128) -> None:
        super().__init__(num_nodes, num_relations, hidden_channels, modalities,
                         num_negatives)
        check_whole(num_heads=num_heads, num_layers=num_layers)
        check_positive(temperature=temperature)
        check_not_negative(contrast=contrast)
        if not modalities:
            raise ModelError("Expected 'modalities' of MyGO to hold at least "
                             f'one modality (got {modalities})')
        if hidden_channels % num_heads != 0:
            raise ModelError("Expected 'hidden_channels' to be divisible by "
                             f"'num_heads' (got {hidden_channels} and "
                             f'{num_heads})')
        for name, rate in (('dropout', dropout),
                           ('structure_dropout', structure_dropout)):
            if not 0 <= rate < 1:
                raise ModelError(f"Expected '{name}' to be in [0, 1) (got "
                                 f'{rate})')
        self.num_heads, self.num_layers = num_heads, num_layers
        self.dropout, self.structure_dropout = dropout, structure_dropout
        self.contrast, self.temperature = contrast, temperature
        D, names = hidden_channels, ['structure', *self.modalities]
        self.node_emb = Embedding(num_nodes, D)
        self.rel_emb = Embedding(2 * num_relations, D)
        self.encoders = make_encoders(modalities, masks, D, missing='drop')
        self.norms = ModuleDict({name: LayerNorm(D) for name in names})
        self.kind = ParameterDict({name: torch.empty(D) for name in names})
        self.first = Parameter(torch.empty(D))
        self.missing_token = Parameter(torch.empty(D))
        self.position = Parameter(torch.empty(3, D))
        self.entity_encoder = _transformer(D, num_heads, dropout, 1)
        self.query_encoder = _transformer(D, num_heads, dropout, num_layers)
        self.rel_norm, self.before, self.after = (LayerNorm(D)
                                                  for _ in range(3))
        self.core = Parameter(torch.empty(D, D, D))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        for table in (self.node_emb, self.rel_emb):
            torch.nn.init.xavier_uniform_(table.weight)
        bound = (6 / (1 + self.hidden_channels)) ** 0.5  # Xavier, for one row.
        for param in (*self.kind.values(), self.first, self.missing_token,
                      self.position):
            torch.nn.init.uniform_(param, -bound, bound)
        torch.nn.init.xavier_uniform_(self.core)
        for module in (self.encoders, self.norms, self.rel_norm, self.before,
                       self.after):
            reset(module)
        for encoder in (self.entity_encoder, self.query_encoder):
            for layer in encoder.layers:
                _reset_layer(layer)

    def embed(self, index: Tensor) -> dict[str, Tensor]:
        r"""Returns the concatenated tokens of each modality,
        :obj:`[*, I * C]`. Missing tokens are zero.
        """
        views = {'structure': self._token('structure', self.node_emb(index),
                                          self.structure_dropout)}
        for name, encoder in self.encoders.items():
            assert isinstance(encoder, ModalityEncoder)
            rows, mask = encoder.rows(index)
            token = self._token(name, rows, self.dropout)
            token = token.masked_fill(~mask.unsqueeze(-1), 0.0)
            views[name] = token if mask.dim() == index.dim() else (
                token.flatten(-2))
        return views

    def _token(self, name: str, x: Tensor, rate: float) -> Tensor:
        return F.dropout(self.norms[name](x), rate,
                         self.training) + self.kind[name]

    def fuse(self, views: dict[str, Tensor]) -> Tensor:
        return self._encode(views)[0][..., 0, :]

    def _encode(self, views: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        r"""Returns the outputs of the transformer at all tokens,
        :obj:`[*, T, C]`, and the mask of present tokens.
        """
        parts = [views[name].unflatten(-1, (-1, self.hidden_channels))
                 for name in ('structure', *self.modalities)]
        shape = torch.broadcast_shapes(*(x.shape[:-2] for x in parts))
        x = torch.cat([x.expand(*shape, -1, -1) for x in (
            self.first.unsqueeze(0), *parts)], dim=-2)
        absent = (x == 0).all(dim=-1)
        absent[..., 0] = False  # Attention needs at least one token.
        return _transform(self.entity_encoder, x, absent), ~absent

    def query(self, x: Tensor, rel_type: Tensor) -> Tensor:
        # Scores stay in full precision.
        with torch.autocast(x.device.type, enabled=False):
            rel = F.dropout(self.rel_norm(self.rel_emb(rel_type)),
                            self.structure_dropout, self.training)
            tokens = torch.stack(torch.broadcast_tensors(
                x, rel, self.missing_token), dim=-2) + self.position
            _, rel, tail = _transform(self.query_encoder,
                                      tokens).unbind(dim=-2)
            tail = F.dropout(self.before(tail), self.dropout, self.training)
            return F.dropout(self.after(tucker(tail, rel, self.core)),
                             self.dropout, self.training)

    def regularization(self, encoded: Encoded,
                       rel_type: Tensor) -> Optional[Tensor]:
        if self.contrast == 0:
            return None
        row = on_host(encoded.positives())
        if row.numel() > NODES:
            row = row[torch.randperm(row.numel())[:NODES]]
        node = on_host(encoded.node)[row]
        row, node = (to_device(x, encoded.table.device) for x in (row, node))
        x = encoded.table[row]
        views = self.embed(node)
        out, there = self._encode(views)
        losses = [self._contrast(x, out[:, 0]), self._contrast(x, *_mean(
            out, there))]
        start = 2  # After the first and the structural token.
        for name in self.modalities:
            stop = start + views[name].size(-1) // self.hidden_channels
            part = slice(start, stop)
            losses.append(self._contrast(x, *_mean(out[:, part],
                                                   there[:, part])))
            start = stop
        return self.contrast * torch.stack(losses).mean()

    def _contrast(self, x: Tensor, other: Tensor,
                  there: Optional[Tensor] = None) -> Tensor:
        # An entity may lack all tokens of a modality. On a device, selecting
        # entities would wait for their number.
        masked = there is not None and x.device.type != 'cpu'
        if there is not None and not masked:
            x, other = x[there], other[there]
        if x.size(0) == 0:
            return x.sum()
        logit = F.normalize(x, dim=-1) @ F.normalize(other, dim=-1).t()
        logit = logit.to(x.dtype) / self.temperature
        target = torch.arange(x.size(0), device=x.device)
        if not masked:
            return F.cross_entropy(logit, target)
        assert there is not None
        lowest = torch.finfo(logit.dtype).min
        losses = F.cross_entropy(logit.masked_fill(~there, lowest), target,
                                 reduction='none')
        return sum_where(there, losses) / there.sum().clamp(min=1)


def _mean(out: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
    weight = there.unsqueeze(-1).to(out.dtype)
    total = weight.sum(dim=-2).clamp(min=1)
    return (weight * out).sum(dim=-2) / total, there.any(dim=-1)


def _transformer(channels: int, num_heads: int, dropout: float,
                 num_layers: int) -> TransformerEncoder:
    layer = TransformerEncoderLayer(channels, num_heads, 4 * channels,
                                    dropout, batch_first=True)
    return TransformerEncoder(layer, num_layers, enable_nested_tensor=False)


def _transform(encoder: TransformerEncoder, x: Tensor,
               absent: Optional[Tensor] = None) -> Tensor:
    r"""Returns the outputs :obj:`[*, T, C]` at tokens :obj:`[*, T, C]`. No
    token attends to tokens that are :obj:`absent` :obj:`[*, T]`.
    """
    if x.numel() == 0:  # PyTorch's attention rejects an empty batch.
        return x
    if absent is not None:
        absent = absent.view(-1, x.size(-2))
    out = encoder(x.reshape(-1, *x.shape[-2:]), src_key_padding_mask=absent)
    return out.to(x.dtype).view(x.shape)


def _reset_layer(layer: torch.nn.Module) -> None:
    # PyTorch's layers have no public method for this.
    for module in layer.modules():
        if isinstance(module, torch.nn.MultiheadAttention):
            torch.nn.init.xavier_uniform_(module.in_proj_weight)
            torch.nn.init.zeros_(module.in_proj_bias)
            torch.nn.init.xavier_uniform_(module.out_proj.weight)
            torch.nn.init.zeros_(module.out_proj.bias)
    for name in ('linear1', 'linear2', 'norm1', 'norm2'):
        reset(layer.get_submodule(name))
