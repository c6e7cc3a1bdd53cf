from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import InMemoryDataset

from pyg_mmkgc.data import KnowledgeGraph
from pyg_mmkgc.errors import DataError

# The complex dimension of hidden positions, and the softmax temperature of
# tails.
CHANNELS = 4
TEMPERATURE = 0.05


class FakeMMKG(InMemoryDataset):
    r"""A small random multi-modal knowledge graph with informative features.

    Each node has a hidden position, a vector of complex numbers of modulus
    one, and each relation has a hidden rotation. The tail of a triple is
    sampled from the nodes close to the rotated head. Each modality is a noisy
    linear projection of a part of the coordinates. Many nodes occur in few
    training triples, so only models that use the features can locate them.

    .. code-block:: python

        kg = FakeMMKG(num_nodes=100, modalities={'audio': 8})[0]

    Args:
        num_nodes (int, optional): The number of nodes.
            (default: :obj:`200`)
        num_relations (int, optional): The number of relations.
            (default: :obj:`6`)
        num_edges (int, optional): The number of distinct triples.
            (default: :obj:`1200`)
        modalities (dict[str, int], optional): The number of channels of each
            modality. If set to :obj:`None`, uses
            :obj:`{"visual": 32, "text": 16}`. (default: :obj:`None`)
        coverage (float, optional): The share of nodes with features in each
            modality. (default: :obj:`0.8`)
        noise (float, optional): The standard deviation of the noise in the
            features. The signal has a standard deviation of about one.
            (default: :obj:`0.1`)
        val_ratio (float, optional): The share of validation triples.
            (default: :obj:`0.1`)
        test_ratio (float, optional): The share of test triples.
            (default: :obj:`0.1`)
        seed (int, optional): The seed. The global random state does not
            change. (default: :obj:`0`)
        transform (callable, optional): A function/transform that takes in a
            :class:`~pyg_mmkgc.data.KnowledgeGraph` and returns a transformed
            version. It is applied before every access.
            (default: :obj:`None`)

    Raises:
        DataError: If an argument is out of range, or if too few nodes or
            relations are given for the number of triples.
    """
    def __init__(
        self,
        num_nodes: int = 200,
        num_relations: int = 6,
        num_edges: int = 1200,
        modalities: dict[str, int] | None = None,
        coverage: float = 0.8,
        noise: float = 0.1,
        val_ratio: float = 0.1,
        test_ratio: float = 0.1,
        seed: int = 0,
        transform: Callable[..., Any] | None = None,
    ) -> None:
        super().__init__(None, transform)
        if num_nodes < 2 or num_relations < 1 or num_edges < 1:
            raise DataError(f"Expected 'num_nodes' >= 2, 'num_relations' >= 1 "
                            f"and 'num_edges' >= 1 (got {num_nodes}, "
                            f'{num_relations} and {num_edges})')
        if seed < 0:
            raise DataError(f"Expected 'seed' to be non-negative (got {seed})")
        if not noise >= 0.0:
            raise DataError(f"Expected 'noise' to be non-negative (got "
                            f'{noise})')
        if not 0.0 < coverage <= 1.0:
            raise DataError(f"Expected 'coverage' to lie in (0, 1] (got "
                            f'{coverage})')
        if min(val_ratio, test_ratio) < 0.0 or val_ratio + test_ratio >= 1.0:
            raise DataError("Expected 'val_ratio' and 'test_ratio' to leave "
                            f'triples to train (got {val_ratio} and '
                            f'{test_ratio})')
        if modalities is None:
            modalities = {'visual': 32, 'text': 16}
        generator = torch.Generator().manual_seed(seed)

        angle = 2 * math.pi * torch.rand(num_nodes, CHANNELS,
                                         generator=generator)
        edge_index, edge_type = _triples(angle, num_relations, num_edges,
                                         generator)
        # The triples are in random order, so the split is contiguous.
        position = torch.arange(num_edges)
        num_test = round(test_ratio * num_edges)
        num_val = round(val_ratio * num_edges)
        if num_val + num_test >= num_edges:  # Due to rounding.
            raise DataError("Expected 'val_ratio' and 'test_ratio' to leave "
                            f'triples to train (got {val_ratio} and '
                            f'{test_ratio} of {num_edges})')
        split = (position >= num_test).long() \
            + (position >= num_test + num_val).long()
        masks: dict[str, Any] = {
            f'{name}_mask': split == i
            for i, name in enumerate(['test', 'val', 'train'])
            if bool((split == i).any())}

        kg = KnowledgeGraph(
            edge_index=edge_index,
            edge_type=edge_type,
            num_nodes=num_nodes,
            num_relations=num_relations,
            node_names=[f'node_{i}' for i in range(num_nodes)],
            relation_names=[f'relation_{i}' for i in range(num_relations)],
            **masks,
        )
        for i, (name, channels) in enumerate(modalities.items()):
            # Each modality depends on its own part of the coordinates.
            part = angle[:, i % CHANNELS::len(modalities)]
            part = torch.cat([part.cos(), part.sin()], dim=1)
            weight = torch.randn(part.size(1), channels, generator=generator)
            x = part @ weight / (part.size(1) / 2)**0.5
            x += noise * torch.randn(x.shape, generator=generator)
            order = torch.randperm(num_nodes, generator=generator)
            mask = order < max(round(coverage * num_nodes), 1)
            kg[f'x_{name}'] = x * mask.view(-1, 1)
            kg[f'mask_{name}'] = mask
        kg.validate()
        self.data, self.slices = self.collate([kg])


def _triples(angle: Tensor, num_relations: int, num_edges: int,
             generator: torch.Generator) -> tuple[Tensor, Tensor]:
    num_nodes = angle.size(0)
    z = torch.cat([angle.cos(), angle.sin()], dim=1)
    rotation = 2 * math.pi * torch.rand(num_relations, CHANNELS,
                                        generator=generator)
    rank = torch.randperm(num_nodes, generator=generator)
    popularity = 1.0 / (5.0 + rank)
    chunk = max(1, min(num_edges, 2**24 // num_nodes))

    keys = torch.empty(0, dtype=torch.long)
    for _ in range(10 + 20 * num_edges // chunk):
        head = torch.multinomial(popularity, chunk, replacement=True,
                                 generator=generator)
        rel = torch.randint(num_relations, (chunk, ), generator=generator)
        goal = angle[head] + rotation[rel]
        goal = torch.cat([goal.cos(), goal.sin()], dim=1)
        # The product is the mean cosine of the remaining angles.
        logits = (goal @ z.t() / CHANNELS) / TEMPERATURE + popularity.log()
        logits.scatter_(1, head.view(-1, 1), -math.inf)
        tail = torch.multinomial(logits.softmax(dim=1), 1,
                                 generator=generator).view(-1)
        key = (head * num_relations + rel) * num_nodes + tail
        keys = torch.cat([keys, key]).unique()
        if keys.numel() >= num_edges:
            perm = torch.randperm(keys.numel(), generator=generator)
            keys = keys[perm[:num_edges]]
            rest = keys // num_nodes
            return torch.stack([rest // num_relations, keys % num_nodes]), \
                rest % num_relations
    raise DataError(f'Expected enough plausible triples for num_edges='
                    f'{num_edges} (got too few from {num_nodes} nodes and '
                    f'{num_relations} relations)')
