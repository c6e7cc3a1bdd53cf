r"""A synthetic graph of any size with power-law degrees, in files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from pyg_mmkgc.data import KnowledgeGraph
from pyg_mmkgc.io import load_features

# The exponent of the popularity of the node at rank i, (i + 5)^-EXPONENT.
EXPONENT = 0.8
# The number of triples that are drawn, and of rows that are written, at once.
BLOCK = 1 << 18


def make(folder: Path, num_nodes: int, num_triples: int, num_relations: int,
         channels: int, missing: float, seed: int = 0) -> None:
    r"""Writes distinct triples to :obj:`graph.safetensors` and
    :obj:`triples.tsv`, and features in half precision to :obj:`features.npy`,
    which is never whole in memory. A random share of nodes lacks them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    total = (np.arange(num_nodes) + 5.0)**-EXPONENT
    total = np.cumsum(total)
    keys = np.empty(0, dtype=np.int64)
    while keys.size < num_triples:
        size = max(BLOCK, num_triples - keys.size)
        head, tail = (np.searchsorted(total, rng.random(size) * total[-1])
                      for _ in range(2))
        rel = rng.integers(num_relations, size=size)
        keys = np.unique(np.concatenate([
            keys, (head * num_relations + rel) * num_nodes + tail]))
    keys = rng.permutation(keys)[:num_triples]
    head, rel, tail = (keys // num_nodes // num_relations,
                       keys // num_nodes % num_relations, keys % num_nodes)
    masks = np.arange(num_triples)
    num_eval = min(1000, num_triples // 10)
    KnowledgeGraph(
        edge_index=torch.from_numpy(np.stack([head, tail])),
        edge_type=torch.from_numpy(rel), num_nodes=num_nodes,
        num_relations=num_relations,
        node_names=[f'node {i}' for i in range(num_nodes)],
        relation_names=[f'relation {i}' for i in range(num_relations)],
        train_mask=torch.from_numpy(masks >= num_eval),
        test_mask=torch.from_numpy(masks < num_eval),
    ).save(folder / 'graph.safetensors')
    if channels > 0:
        table = np.lib.format.open_memmap(
            folder / 'features.npy', mode='w+', dtype=np.float16,
            shape=(num_nodes, channels))
        for start in range(0, num_nodes, BLOCK):
            part = table[start:start + BLOCK]
            part[:] = rng.standard_normal(part.shape, dtype=np.float32)
        table.flush()
        np.save(folder / 'mask.npy', rng.random(num_nodes) >= missing)
    with open(folder / 'triples.tsv', 'w', encoding='utf-8') as file:
        for start in range(0, num_triples, BLOCK):
            file.writelines(
                f'node {h}\trelation {r}\tnode {t}\n' for h, r, t in zip(*(
                    ids[start:start + BLOCK].tolist()
                    for ids in (head, rel, tail)), strict=True))
    (folder / 'sizes.json').write_text(json.dumps(
        {'nodes': num_nodes, 'triples': num_triples,
         'relations': num_relations, 'features': channels}))


def load(folder: Path) -> KnowledgeGraph:
    r"""Reads a graph of :func:`make`, with features mapped from their file."""
    kg = KnowledgeGraph.load(folder / 'graph.safetensors')
    path = folder / 'features.npy'
    if path.is_file():
        kg['x_features'] = load_features(path, mmap=True)
        kg['mask_features'] = torch.from_numpy(np.load(folder / 'mask.npy'))
    return kg
