from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from operator import eq
from typing import Any

import torch
from torch import Tensor

from pyg_mmkgc.data.alignment import align_features
from pyg_mmkgc.data.knowledge_graph import KnowledgeGraph
from pyg_mmkgc.data.text import read_lines
from pyg_mmkgc.errors import DataError, FormatError
from pyg_mmkgc.io.reading import as_path

PathLike = str | os.PathLike[str]
Triple = tuple[str, str, str]
TAB = '\t'

_HEADER = (
    {'head', 'h', 'head_id', 'subject', 'source'},
    {'relation', 'rel', 'r', 'rel_type', 'edge_type', 'predicate',
     'property', 'relationship', 'relation_id'},
    {'tail', 't', 'tail_id', 'object', 'target'},
)


def from_tsv(
    train: PathLike,
    val: PathLike | None = None,
    test: PathLike | None = None,
    *,
    val_ratio: float = 0.0,
    test_ratio: float = 0.0,
    seed: int = 0,
    features: Mapping[str, Mapping[str, Any] | PathLike] | None = None,
    allow_overlap: bool = False,
) -> KnowledgeGraph:
    r"""Reads a knowledge graph from text files.

    Each line holds the labels of head, relation and tail, separated by tabs.
    A first line with the names of these columns is skipped. Nodes and
    relations are numbered in the order in which they appear. Use
    :func:`~pyg_mmkgc.data.renumber` to number the graph like a saved model.

    Without :obj:`val` and :obj:`test`, the triples of the one file can be
    split at random. Repeated triples are removed with a warning. One triple of
    each node and each relation stays in the training split, so that the other
    splits contain nothing unseen, unless too few other triples are left to
    reach the ratios.

    Args:
        train (str or os.PathLike): The file of the training triples or of
            all triples.
        val (str or os.PathLike, optional): The file of the validation
            triples. (default: :obj:`None`)
        test (str or os.PathLike, optional): The file of the test triples.
            (default: :obj:`None`)
        val_ratio (float, optional): The share of triples to use for
            validation. (default: :obj:`0.0`)
        test_ratio (float, optional): The share of triples to use for testing.
            (default: :obj:`0.0`)
        seed (int, optional): The seed of the random split.
            (default: :obj:`0`)
        features (dict, optional): The vectors of each modality by label,
            either as a dictionary, an :obj:`.npz` file with one array per
            label, a :obj:`.safetensors` file with one table whose rows belong
            to the lines of :obj:`labels.txt` next to it, or a folder that
            :obj:`mmkgc features` wrote. Nodes without a vector are masked.
            (default: :obj:`None`)
        allow_overlap (bool, optional): If set to :obj:`True`, a triple may
            occur in several files. (default: :obj:`False`)

    Raises:
        FormatError: If a row of a file breaks the format.
        DataError: If a triple occurs in several files, the ratios leave a
            split empty, or the features belong to no node.
    """
    if seed < 0:
        raise DataError(f"Expected 'seed' to be non-negative (got {seed})")
    for name, ratio in [('val_ratio', val_ratio), ('test_ratio', test_ratio)]:
        if not 0.0 <= ratio < 1.0:
            raise DataError(f"Expected '{name}' to lie in [0, 1) (got "
                            f'{ratio})')
    if val_ratio + test_ratio >= 1.0:
        raise DataError(f"Expected 'val_ratio' and 'test_ratio' to leave "
                        f'triples to train (got {val_ratio} and {test_ratio})')
    has_files = val is not None or test is not None
    if has_files and val_ratio + test_ratio > 0.0:
        raise DataError('Expected either files or ratios for the splits (got '
                        'both)')

    as_path(train)
    paths = dict(train=train, val=val, test=test)
    rows: dict[str, list[Triple]] = {}
    for name, path in paths.items():
        if path is not None:
            rows[name] = _read_triples(path)
    if not allow_overlap:
        _check_overlap(rows, paths)
    if not has_files and val_ratio + test_ratio > 0.0:
        unique = list(dict.fromkeys(rows['train']))
        repeated = len(rows['train']) - len(unique)
        if repeated > 0:
            warnings.warn(f"Expected distinct triples in '{os.fspath(train)}' "
                          f'(got {repeated} that repeat others). They are '
                          'ignored.', stacklevel=3)
        rows = {'train': unique}

    node_ids: dict[str, int] = {}
    rel_ids: dict[str, int] = {}
    ids = torch.tensor([(node_ids.setdefault(head, len(node_ids)),
                         rel_ids.setdefault(rel, len(rel_ids)),
                         node_ids.setdefault(tail, len(node_ids)))
                        for part in rows.values() for head, rel, tail in part])
    head, edge_type, tail = ids.t().contiguous()
    if len(rows) > 1:
        sizes = torch.tensor([len(part) for part in rows.values()])
        split = torch.arange(len(rows)).repeat_interleave(sizes)
        masks = {f'{name}_mask': split == i for i, name in enumerate(rows)}
    else:
        masks = _random_split(ids, val_ratio, test_ratio, seed)

    attributes: dict[str, Any] = {**masks}
    if not isinstance(features, Mapping | None):
        raise DataError("Expected 'features' to be a dict of modalities (got "
                        f'{type(features).__name__})')
    for modality, values in (features or {}).items():
        x, mask = align_features(modality, values, list(node_ids))
        attributes[f'x_{modality}'] = x
        attributes[f'mask_{modality}'] = mask

    kg = KnowledgeGraph(
        edge_index=torch.stack([head, tail]),
        edge_type=edge_type,
        num_nodes=len(node_ids),
        num_relations=len(rel_ids),
        node_names=list(node_ids),
        relation_names=list(rel_ids),
        **attributes,
    )
    kg.validate()
    return kg


def _read_triples(path: PathLike) -> list[Triple]:
    triples: list[Triple] = []
    for row, line in enumerate(read_lines(path), start=1):
        columns = line.split('\t', 3)
        if row == 1 and _is_header(columns, path):
            continue
        if len(columns) != 3:
            raise FormatError('Expected head, relation and tail, separated by '
                              f"tabs, in '{os.fspath(path)}', row {row} (got "
                              f'{line.count(TAB) + 1} columns in '
                              f'{line[:80]!r})')
        if any(label != label.strip() or label == '' for label in columns):
            raise FormatError('Expected labels without spaces around them in '
                              f"'{os.fspath(path)}', row {row} (got "
                              f'{columns!s:.200})')
        triples.append((columns[0], columns[1], columns[2]))
    if len(triples) == 0:
        raise FormatError(f"Expected triples in '{os.fspath(path)}' (got "
                          'none)')
    return triples


def _is_header(columns: list[str], path: PathLike) -> bool:
    names = [column.strip().lower() for column in columns]
    kinds = [next((i for i, kind in enumerate(_HEADER) if name in kind), None)
             for name in names]
    if len(kinds) == 3 and set(kinds) == {0, 1, 2} and kinds != [0, 1, 2]:
        raise FormatError('Expected the columns head, relation, tail in this '
                          f"order in '{os.fspath(path)}', row 1 (got "
                          f'{names!s:.200})')
    if len(kinds) == 3 and sum(map(eq, kinds, range(3))) == 2:
        warnings.warn(f"Expected a triple in '{os.fspath(path)}', row 1 (got "
                      f'{columns!s:.200}, which looks like column names but '
                      'is read as a triple). Name the columns head, relation '
                      'and tail, or remove the row.', stacklevel=5)
    return kinds == [0, 1, 2]


def _check_overlap(rows: dict[str, list[Triple]],
                   paths: Mapping[str, PathLike | None]) -> None:
    first: dict[Triple, tuple[str, int]] = {}
    for name, part in rows.items():
        for i, triple in enumerate(part):
            other, j = first.setdefault(triple, (name, i))
            if other != name:
                raise DataError(
                    f"Expected splits without common triples (got {triple} "
                    f"as triple {i + 1} of '{paths[name]}' and triple {j + 1} "
                    f"of '{paths[other]}'). Pass allow_overlap=True to accept "
                    'it, although metrics become too optimistic.')


def _random_split(ids: Tensor, val_ratio: float, test_ratio: float,
                  seed: int) -> dict[str, Tensor]:
    num_edges = ids.size(0)
    num_val, num_test = round(val_ratio * num_edges), round(
        test_ratio * num_edges)
    # Rounding may leave any of the three splits empty.
    if ((val_ratio > 0.0 and num_val == 0)
            or (test_ratio > 0.0 and num_test == 0)
            or num_val + num_test >= num_edges):
        raise DataError(f'Expected enough triples for val_ratio={val_ratio} '
                        f'and test_ratio={test_ratio} (got {num_edges})')
    generator = torch.Generator().manual_seed(seed)
    perm = torch.randperm(num_edges, generator=generator)
    head, rel, tail = ids[perm].t()

    # The first triple of each node and relation stays in train if possible.
    position = torch.arange(num_edges)
    keep = torch.zeros(num_edges, dtype=torch.bool)
    for key, pos in [(torch.cat([head, tail]), position.repeat(2)),
                     (rel, position)]:
        first = torch.full((int(key.max()) + 1, ), num_edges)
        first.scatter_reduce_(0, key, pos, 'amin')
        keep[first] = True
    perm = perm[keep.long().argsort(stable=True)]

    split = torch.zeros(num_edges, dtype=torch.long)
    split[perm[:num_test]] = 2
    split[perm[num_test:num_test + num_val]] = 1
    return {f'{name}_mask': split == i
            for i, name in enumerate(['train', 'val', 'test'])
            if bool((split == i).any())}
