from __future__ import annotations

import torch
from torch_geometric.transforms import BaseTransform

from pyg_mmkgc.data import KnowledgeGraph
from pyg_mmkgc.errors import DataError
from pyg_mmkgc.transforms.drop_modality import check_modality


class DropFeatures(BaseTransform):
    r"""Marks a random share of the rows of a modality as missing and sets
    their features to zero, to study missing modalities.

    .. code-block:: python

        kg = DropFeatures('visual', ratio=0.4, seed=0)(kg)

    Args:
        modality (str): The modality.
        ratio (float): The share of present rows to drop, less than one. With
            the same seed, a larger ratio drops a superset of the rows of a
            smaller ratio, and all modalities drop nodes in the same random
            order.
        seed (int, optional): The seed. (default: :obj:`0`)

    Raises:
        DataError: If :obj:`ratio` is not in :math:`[0, 1)`, or if the graph
            does not have the modality.
    """
    def __init__(self, modality: str, ratio: float, seed: int = 0) -> None:
        if not 0.0 <= ratio < 1.0:
            raise DataError(f"Expected 'ratio' to lie in [0, 1) (got {ratio})")
        self.modality = modality
        self.ratio = ratio
        self.seed = seed

    def forward(self, data: KnowledgeGraph) -> KnowledgeGraph:
        check_modality(data, self.modality)
        mask = data.masks()[self.modality].clone()
        present = mask.reshape(mask.size(0), -1).any(dim=1)
        generator = torch.Generator().manual_seed(self.seed)
        # The order of nodes is the same for all modalities.
        perm = torch.randperm(mask.size(0), generator=generator)
        perm = perm.to(mask.device)
        rows = perm[present[perm]]
        # A modality needs at least one row.
        num_drops = min(round(self.ratio * rows.numel()), rows.numel() - 1)
        mask[rows[:num_drops]] = False
        x = data[f'x_{self.modality}']
        there = mask.view(mask.shape + (1, ) * (x.dim() - mask.dim()))
        data[f'x_{self.modality}'] = x * there.to(x.dtype)
        data[f'mask_{self.modality}'] = mask
        return data

    def __repr__(self) -> str:
        return (f"{self.__class__.__name__}('{self.modality}', "
                f'ratio={self.ratio}, seed={self.seed})')
