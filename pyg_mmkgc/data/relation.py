from __future__ import annotations

import torch
from torch import Tensor

from pyg_mmkgc.errors import DataError


def relation_categories(edge_index: Tensor, edge_type: Tensor,
                        num_relations: int) -> list[str]:
    r"""Returns the category of each relation, :obj:`"1-1"`, :obj:`"1-N"`,
    :obj:`"N-1"` or :obj:`"N-N"`, as defined in the
    `"Translating Embeddings for Modeling Multi-Relational Data"
    <https://papers.nips.cc/paper/5071-translating-embeddings-for-modeling
    -multi-relational-data>`_ paper.

    The right side is :obj:`"N"` if a relation has on average at least 1.5
    distinct tails per head, and the left side if it has at least 1.5 distinct
    heads per tail. A relation without triples is :obj:`"unseen"`.

    Args:
        edge_index (torch.Tensor): The heads and tails of the training triples
            with shape :obj:`[2, num_edges]`.
        edge_type (torch.Tensor): The relations of the training triples with
            shape :obj:`[num_edges]`.
        num_relations (int): The number of relations.

    Raises:
        DataError: If a relation id is too large.
    """
    if edge_type.numel() > 0 and int(edge_type.max()) >= num_relations:
        raise DataError(f'Expected relation ids less than {num_relations} '
                        f'(got {int(edge_type.max())})')

    num_nodes = int(edge_index.max()) + 1 if edge_index.numel() > 0 else 1

    def count(*columns: Tensor) -> Tensor:
        # Rows become integers, since sorting rows is a hundred times slower.
        key, base = edge_type, 1
        for column in columns:
            key, base = key * num_nodes + column, base * num_nodes
        return torch.bincount(key.unique() // base, minlength=num_relations)

    triples = count(edge_index[0], edge_index[1])
    heads, tails = count(edge_index[0]), count(edge_index[1])
    left = triples >= 1.5 * tails
    right = triples >= 1.5 * heads
    names = ['1-1', '1-N', 'N-1', 'N-N', 'unseen']
    category = (2 * left + right).masked_fill(triples == 0, 4)
    return [names[i] for i in category.tolist()]
