from __future__ import annotations

from torch_geometric.transforms import BaseTransform

from pyg_mmkgc.data import KnowledgeGraph
from pyg_mmkgc.errors import DataError


class DropModality(BaseTransform):
    r"""Removes modalities from a knowledge graph, for ablations.

    .. code-block:: python

        kg = DropModality('visual')(kg)

    Args:
        *names (str): The modalities to drop.
    """
    def __init__(self, *names: str) -> None:
        self.names = names

    def forward(self, data: KnowledgeGraph) -> KnowledgeGraph:
        for name in self.names:
            check_modality(data, name)
        for name in self.names:
            del data[f'x_{name}'], data[f'mask_{name}']
        return data

    def __repr__(self) -> str:
        names = ', '.join(map(repr, self.names))
        return f'{self.__class__.__name__}({names})'


def check_modality(data: KnowledgeGraph, name: str) -> None:
    r"""Raises :class:`~pyg_mmkgc.errors.DataError` if a knowledge graph does
    not have a modality.

    Args:
        data (KnowledgeGraph): The graph.
        name (str): The name of the modality.
    """
    if name not in data.modalities:
        raise DataError(f"Expected a graph with modality '{name}' (got "
                        f'{data.modalities})')
