r"""Checks that a graph is the graph that a model was trained on."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
from torch import Tensor

from pyg_mmkgc.data.knowledge_graph import KnowledgeGraph


def fingerprint(kg: KnowledgeGraph) -> dict[str, Any]:
    r"""Returns the fingerprint of a graph as plain values, ready for JSON.

    It consists of the number of nodes and relations, and of the SHA-256 of
    their labels, of the triples of each split, and of the filter. It depends
    on the numbering of nodes and relations, but not on the order of triples.

    Args:
        kg (KnowledgeGraph): The graph.
    """
    out: dict[str, Any] = {
        'number of nodes': kg.num_nodes,
        'number of relations': kg.num_relations,
        'labels of nodes': _digest_labels(kg.get('node_names')),
        'labels of relations': _digest_labels(kg.get('relation_names'))}
    for name, split in kg.splits().items():
        out[f'triples of {name}'] = _digest_triples(split.edge_index,
                                                    split.edge_type)
    if 'filter_edge_index' in kg:
        out['triples of the filter'] = _digest_triples(kg.filter_edge_index,
                                                       kg.filter_edge_type)
    return out


def differences(saved: dict[str, Any], kg: KnowledgeGraph) -> list[str]:
    r"""Returns the descriptions of the parts in which a graph differs from a
    saved fingerprint.

    Args:
        saved (dict): The saved result of :func:`fingerprint`.
        kg (KnowledgeGraph): The graph.
    """
    now = fingerprint(kg)
    return [f'{part} ({saved.get(part)}, now {now.get(part)})'
            if part.startswith('number') else part
            for part in {**now, **saved} if saved.get(part) != now.get(part)]


def _digest_labels(labels: list[str] | None) -> str | None:
    if labels is None:
        return None
    return hashlib.sha256(json.dumps(labels).encode()).hexdigest()


def _digest_triples(edge_index: Tensor, edge_type: Tensor) -> str:
    head, tail = edge_index.cpu().numpy()
    rel = edge_type.cpu().numpy()
    nodes, relations = (int(max(x.max(initial=-1) for x in ids)) + 1
                        for ids in ([head, tail], [rel]))
    if nodes * nodes * relations < 2**63:  # Faster than to sort by columns.
        key = np.sort((head * relations + rel) * nodes + tail)
        head, rel, tail = (key // max(nodes, 1) // max(relations, 1),
                           key // max(nodes, 1) % max(relations, 1),
                           key % max(nodes, 1))
    else:
        order = np.lexsort((tail, rel, head))
        head, rel, tail = head[order], rel[order], tail[order]
    digest = hashlib.sha256()
    for x in (head, rel, tail):
        # A fixed byte order makes the digest equal on every machine.
        digest.update(np.ascontiguousarray(x, dtype='<i8').data)
    return digest.hexdigest()
