from __future__ import annotations

import copy
from typing import Union

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import Embedding, LeakyReLU, Linear, Module, Sequential
from torch_geometric.nn import RGCNConv

from pyg_mmkgc.data import KnowledgeGraph
from pyg_mmkgc.errors import (
    DataError,
    check_not_negative,
    check_positive,
    check_whole,
)
from pyg_mmkgc.kernels.host import drawn_for
from pyg_mmkgc.training.step import FiniteChecks, adam, minimize


class MACO(Module):
    r"""The generator, the discriminator and the structural encoder of the
    `"MACO: A Modality Adversarial and Contrastive Framework for
    Modality-missing Multi-modal Knowledge Graph Completion"
    <https://arxiv.org/abs/2308.06696>`_ paper, which :func:`fill_missing`
    trains and applies.

    A relational graph convolution computes the structural embedding
    :math:`\mathbf{s}` of each node. The generator turns noise and this
    embedding into a feature row :math:`\mathbf{x}^* = G(\mathbf{z},
    \mathbf{s})`, which the discriminator :math:`D(\mathbf{x}, \mathbf{s})`
    tells apart from real rows. A contrastive loss aligns the features and the
    structure of a node:

    .. math::
        \mathcal{L}_c(\mathbf{x}, \mathbf{s}) = -\frac{1}{B} \sum_i \log
        \frac{\exp(\cos(\mathbf{W} \mathbf{x}_i, \mathbf{s}_i) / \tau)}
        {\sum_j \exp(\cos(\mathbf{W} \mathbf{x}_i, \mathbf{s}_j) / \tau)}

    Args:
        num_nodes (int): The number of nodes :obj:`N`.
        num_relations (int): The number of relations.
        feature_channels (int): The width :obj:`F` of the features.
        channels (int, optional): The width of :math:`\mathbf{s}`.
            (default: :obj:`128`)
        noise_channels (int, optional): The width of :math:`\mathbf{z}`.
            (default: :obj:`128`)
        hidden_channels (int, optional): The hidden width of the generator and
            the discriminator. (default: :obj:`1024`)
        num_bases (int, optional): The number of basis matrices of each
            convolution. (default: :obj:`4`)
    """
    def __init__(
        self,
        num_nodes: int,
        num_relations: int,
        feature_channels: int,
        channels: int = 128,
        noise_channels: int = 128,
        hidden_channels: int = 1024,
        num_bases: int = 4,
    ) -> None:
        super().__init__()
        self.num_relations = num_relations
        self.noise_channels = noise_channels
        self.node_emb = Embedding(num_nodes, channels)
        # Messages flow along and against the relations.
        self.convs = torch.nn.ModuleList([
            RGCNConv(channels, channels, 2 * num_relations, num_bases)
            for _ in range(2)])
        self.lin = Linear(feature_channels, channels, bias=False)
        self.generator = Sequential(
            Linear(noise_channels + channels, hidden_channels), LeakyReLU(),
            Linear(hidden_channels, feature_channels))
        self.discriminator = Sequential(
            Linear(feature_channels + channels, hidden_channels), LeakyReLU(),
            Linear(hidden_channels, 1))

    def structure(self, edge_index: Tensor, edge_type: Tensor) -> Tensor:
        r"""Returns the structural embeddings :obj:`[N, C]` of all nodes."""
        edge_index = torch.cat([edge_index, edge_index.flip(0)], dim=1)
        edge_type = torch.cat([edge_type, edge_type + self.num_relations])
        x = self.convs[0](self.node_emb.weight, edge_index, edge_type).relu()
        return self.convs[1](x, edge_index, edge_type)

    def generate(self, structure: Tensor,
                 generator: torch.Generator) -> Tensor:
        r"""Generates feature rows :obj:`[B, F]` for structural embeddings
        :obj:`[B, C]`.
        """
        noise = torch.randn(structure.size(0), self.noise_channels,
                            generator=generator, device=generator.device)
        noise = drawn_for(structure, noise)
        return self.generator(torch.cat([noise, structure], -1))

    def realness(self, x: Tensor, structure: Tensor) -> Tensor:
        r"""Returns the logits :obj:`[B]` of feature rows being real."""
        return self.discriminator(torch.cat([x, structure], -1)).view(-1)

    def contrast(self, x: Tensor, structure: Tensor,
                 temperature: float) -> Tensor:
        r"""Returns the contrastive loss :math:`\mathcal{L}_c` of feature rows
        :obj:`[B, F]` and structural embeddings :obj:`[B, C]`.
        """
        cosine = F.normalize(self.lin(x), dim=-1) @ F.normalize(
            structure, dim=-1).t()
        return F.cross_entropy(cosine / temperature, torch.arange(
            x.size(0), device=x.device))


def fill_missing(
    data: KnowledgeGraph,
    modality: str,
    channels: int = 128,
    noise_channels: int = 128,
    hidden_channels: int = 1024,
    epochs: int = 100,
    batch_size: int = 1024,
    lr: float = 1e-3,
    contrast: float = 0.01,
    temperature: float = 0.1,
    seed: int = 0,
    device: Union[str, torch.device, None] = None,
) -> KnowledgeGraph:
    r"""Generates the missing feature rows of a modality with :class:`MACO`,
    before a model is trained on the graph.

    .. code-block:: python

        kg = fill_missing(Countries()[0], 'visual')
        model = AdaMF.from_data(kg, 64)

    MACO is trained on the training triples and on the available rows, with
    each channel standardized. The returned graph has no mask for the modality,
    so models do not treat the generated rows as missing. The given graph is
    not modified. The same seed generates the same rows.

    Args:
        data (KnowledgeGraph): The graph.
        modality (str): The modality, with one row for each node.
        channels (int, optional): The width of :math:`\mathbf{s}` in
            :class:`MACO`. (default: :obj:`128`)
        noise_channels (int, optional): The width of :math:`\mathbf{z}` in
            :class:`MACO`. (default: :obj:`128`)
        hidden_channels (int, optional): The hidden width of :class:`MACO`.
            (default: :obj:`1024`)
        epochs (int, optional): The number of passes over the available rows.
            (default: :obj:`100`)
        batch_size (int, optional): The number of rows in each step.
            (default: :obj:`1024`)
        lr (float, optional): The learning rate of both the generator and the
            discriminator. (default: :obj:`1e-3`)
        contrast (float, optional): The weight of :math:`\mathcal{L}_c`.
            (default: :obj:`0.01`)
        temperature (float, optional): The temperature :math:`\tau`.
            (default: :obj:`0.1`)
        seed (int, optional): The seed. (default: :obj:`0`)
        device (torch.device, optional): The device to train on.
            (default: the device of the features)

    Raises:
        DataError: If the graph lacks the modality, if a node has several
            rows, if no row is missing, or if all rows are missing.
        ModelError: If an argument is out of range.
    """
    check_whole(channels=channels, noise_channels=noise_channels,
                hidden_channels=hidden_channels, epochs=epochs,
                batch_size=batch_size)
    check_whole(at_least=0, seed=seed)
    check_positive(lr=lr, temperature=temperature)
    check_not_negative(contrast=contrast)
    mask = _missing_rows(data, modality)
    features = data[f'x_{modality}']
    there = torch.device(device or features.device)
    x, mask = features.to(there).float(), mask.to(there)
    train = data.split('train')
    edges = train.edge_index.to(there), train.edge_type.to(there)
    std, mean = torch.std_mean(x[mask], dim=0, correction=0)
    std = std.clamp_min(1e-6)
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model = MACO(data.num_nodes, data.num_relations, x.size(1), channels,
                     noise_channels, hidden_channels).to(there)
    _train(model, (x - mean) / std, mask, edges, generator, epochs,
           batch_size, lr, contrast, temperature)
    with torch.no_grad():
        rows = model.generate(model.structure(*edges)[~mask], generator)
    filled = features.clone()
    filled[~mask.to(features.device)] = (rows * std + mean).to(features)
    out = copy.copy(data)
    out[f'x_{modality}'] = filled
    del out[f'mask_{modality}']
    return out


def _missing_rows(data: KnowledgeGraph, modality: str) -> Tensor:
    if modality not in data.modalities:
        raise DataError(f"Expected 'modality' to be one of {data.modalities} "
                        f"(got '{modality}')")
    mask = data.masks()[modality]
    x = data[f'x_{modality}']
    if x.dim() != 2:
        raise DataError(f"Expected one row of '{modality}' for each node (got "
                        f'features of shape {list(x.shape)})')
    if bool(mask.all()) or not bool(mask.any()):
        got = 'none' if bool(mask.all()) else 'all'
        raise DataError(f"Expected some rows of '{modality}' to be missing "
                        f'and some not (got {got} of {mask.numel()} missing)')
    return mask


def _train(model: MACO, x: Tensor, mask: Tensor, edges: tuple[Tensor, Tensor],
           generator: torch.Generator, epochs: int, batch_size: int, lr: float,
           contrast: float, temperature: float) -> None:
    theirs = list(model.generator.parameters())
    mine = [p for name, p in model.named_parameters()
            if not name.startswith('generator.')]
    optimizers = adam(model, mine, lr), adam(model, theirs, lr)
    checks, rows = FiniteChecks(), mask.nonzero().view(-1)
    for epoch in range(1, epochs + 1):
        perm = torch.randperm(rows.numel(), generator=generator)
        for index in rows[perm.to(rows.device)].split(batch_size):
            real, structure = x[index], model.structure(*edges)[index]
            fake = model.generate(structure, generator).detach()
            loss = F.softplus(-model.realness(real, structure)).mean() + (
                F.softplus(model.realness(fake, structure)).mean() +
                contrast * model.contrast(real, structure, temperature))
            minimize(loss, mine, optimizers[0], None,
                     f"MACO's discriminator at epoch {epoch}", model, checks)
            structure = structure.detach()
            fake = model.generate(structure, generator)
            loss = F.softplus(-model.realness(fake, structure)).mean() + (
                contrast * model.contrast(fake, structure, temperature))
            minimize(loss, theirs, optimizers[1], None,
                     f"MACO's generator at epoch {epoch}", model, checks)
            checks.settle()
