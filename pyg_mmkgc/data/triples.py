from __future__ import annotations

import warnings
from array import array
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any

import torch
from torch import Tensor

from pyg_mmkgc.data.alignment import align_features, encoder_of
from pyg_mmkgc.data.knowledge_graph import KnowledgeGraph
from pyg_mmkgc.errors import DataError

Triple = tuple[str, str, str]
COLUMNS = ('head', 'relation', 'tail')


def from_triples(
    train: Any,
    val: Any = None,
    test: Any = None,
    *,
    columns: Sequence[Any] = COLUMNS,
    val_ratio: float = 0.0,
    test_ratio: float = 0.0,
    seed: int = 0,
    features: Mapping[str, Any] | None = None,
    node_names: Mapping[Any, Any] | None = None,
    allow_overlap: bool = False,
) -> KnowledgeGraph:
    r"""Builds a knowledge graph from triples in memory.

    .. code-block:: python

        frame = pandas.DataFrame({'head': ['Ada'], 'relation': ['wrote'],
                                  'tail': ['notes']})
        kg = KnowledgeGraph.from_triples(frame, test_ratio=0.1,
                                         features={'text': vectors})

    Labels may be of any type, and :obj:`str` converts them to names. Nodes and
    relations are numbered in the order in which they appear. Splits and
    features are as for :func:`~pyg_mmkgc.data.tsv.from_tsv`.

    Args:
        train (Any): The training triples, or all triples: rows of head,
            relation and tail, or a :class:`pandas.DataFrame` or another table
            with the columns :obj:`columns`. A row may be a dictionary with
            these keys.
        val (Any, optional): The validation triples. (default: :obj:`None`)
        test (Any, optional): The test triples. (default: :obj:`None`)
        columns (sequence, optional): The columns of head, relation and tail
            in a table, or their keys in rows that are dictionaries.
            (default: :obj:`("head", "relation", "tail")`)
        val_ratio (float, optional): The share of triples to use for
            validation. (default: :obj:`0.0`)
        test_ratio (float, optional): The share of triples to use for testing.
            (default: :obj:`0.0`)
        seed (int, optional): The seed of the random split.
            (default: :obj:`0`)
        features (dict, optional): The vectors of each modality by label: a
            dictionary, a :class:`pandas.DataFrame` with one row per label, or
            a path. Nodes without a vector are masked.
            (default: :obj:`None`)
        node_names (dict, optional): The label of each identifier. Triples and
            features may then use identifiers or labels.
            (default: :obj:`None`)
        allow_overlap (bool, optional): If set to :obj:`True`, a triple may
            occur in several splits. (default: :obj:`False`)

    Raises:
        DataError: If a row is not a triple, a label is missing, different
            labels have the same text, a triple occurs in several splits, the
            ratios leave a split empty, or the features belong to no node.
    """
    if isinstance(columns, str) or len(columns) != 3:
        raise DataError("Expected 'columns' to name the columns of head, "
                        f'relation and tail (got {columns!r})')
    check_split(val_ratio, test_ratio, seed,
                val is not None or test is not None)
    texts: tuple[dict[str, Any], dict[str, Any]] = {}, {}
    rows = {name: _read(part, columns, name, texts) for name, part in (
        ('train', train), ('val', val), ('test', test)) if part is not None}
    labels = Labels(None if node_names is None else {
        _text(key, texts[0], 'node_names'): str(value)
        for key, value in _mapping(node_names, 'node_names').items()})
    parts = {name: labels.number(part) for name, part in rows.items()}
    return build_graph(parts, labels, {name: f"'{name}'" for name in parts},
                       val_ratio, test_ratio, seed, features, allow_overlap)


def _read(part: Any, columns: Sequence[Any], name: str,
          texts: tuple[dict[str, Any], dict[str, Any]]) -> list[Triple]:
    if isinstance(part, (str, bytes)):
        raise DataError(f"Expected rows or a table as '{name}' (got text). "
                        'KnowledgeGraph.from_tsv reads a file.')
    if hasattr(part, 'columns') or isinstance(part, Mapping):
        there = list(part.columns if hasattr(part, 'columns') else part)
        lacking = [column for column in columns if column not in there]
        if lacking:
            raise DataError(f"Expected the columns {list(columns)} in "
                            f"'{name}' (got {there}). Pass their names as "
                            "'columns'.")
        part = zip(*_columns(part, columns, name), strict=True)
    elif isinstance(part, Tensor):
        part = part.tolist()
    elif not isinstance(part, Iterable):
        raise DataError(f"Expected rows or a table as '{name}' (got "
                        f'{type(part).__name__})')
    out: list[Triple] = []
    for i, row in enumerate(part):
        if isinstance(row, Mapping):
            if any(column not in row for column in columns):
                raise DataError(f"Expected the keys {list(columns)} in row "
                                f"{i} of '{name}' (got {list(row)!s:.200}). "
                                "Pass their names as 'columns'.")
            row = [row[column] for column in columns]
        # The elements of a set have no order.
        if isinstance(row, (str, bytes, Set)) or (
                not hasattr(row, '__len__') or len(row) != 3):
            raise DataError('Expected a head, a relation and a tail in row '
                            f"{i} of '{name}' (got {row!r:.200})")
        head, rel, tail = (_text(value, kind, f"row {i} of '{name}'")
                           for value, kind in zip(
                               row, (texts[0], texts[1], texts[0]),
                               strict=True))
        out.append((head, rel, tail))
    if not out:
        raise DataError(f"Expected triples in '{name}' (got none)")
    return out


def _columns(table: Any, columns: Sequence[Any],
             name: str) -> list[list[Any]]:
    out = []
    for column in columns:
        values = table[column]
        if isinstance(values, (str, bytes)) or not isinstance(values,
                                                              Iterable):
            raise DataError(f"Expected labels in the column {column!r} of "
                            f"'{name}' (got {values!r:.200})")
        out.append(list(values))
    sizes = [len(values) for values in out]
    if len(set(sizes)) > 1:
        raise DataError(f"Expected columns of one length in '{name}' (got "
                        f'{sizes} for {list(columns)})')
    return out


def _text(value: Any, known: dict[str, Any], where: str) -> str:
    if isinstance(value, Tensor):
        value = value.tolist()
    # The missing values NaN, NaT and NA of pandas do not equal themselves or
    # cannot be compared. None is a missing label as well.
    if not isinstance(value, str) and (value is None
                                       or str(value) in ('nan', 'NaT',
                                                         '<NA>')):
        raise DataError(f'Expected a label in {where} (got {value!r})')
    text = str(value)
    if text.strip() == '':
        raise DataError(f'Expected a label in {where} (got {value!r})')
    first = known.setdefault(text, value)
    if first is not value and first != value:
        raise DataError(f'Expected labels with different texts in {where} '
                        f'(got {value!r} after {first!r})')
    return text


def _mapping(value: Any, name: str) -> Mapping[Any, Any]:
    if not isinstance(value, Mapping):
        raise DataError(f"Expected '{name}' to be a dict (got "
                        f'{type(value).__name__})')
    return value


def check_split(val_ratio: float, test_ratio: float, seed: int,
                has_splits: bool) -> None:
    r"""Raises :class:`~pyg_mmkgc.errors.DataError` unless the ratios and the
    seed can split the triples, or if there are splits already.
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
    if has_splits and val_ratio + test_ratio > 0.0:
        raise DataError('Expected either files or ratios for the splits (got '
                        'both)')


class Labels:
    r"""The nodes and relations of labels, numbered in the order in which the
    labels appear.

    Args:
        node_names (dict, optional): The label of each identifier of a node.
            (default: :obj:`None`, labels are identifiers)
    """
    def __init__(self, node_names: Mapping[str, str] | None = None) -> None:
        self.nodes: dict[str, int] = {}
        self.relations: dict[str, int] = {}
        self.node_names = node_names
        self._owners: dict[str, list[str]] = {}
        for key, name in (node_names or {}).items():
            self._owners.setdefault(name, []).append(key)

    def number(self, rows: Iterable[Triple]) -> Tensor:
        r"""Returns the ids :obj:`[num_triples, 3]` of labelled triples. Only
        the ids and distinct labels stay in memory.
        """
        nodes, relations, ids = self.nodes, self.relations, array('q')
        resolve = None if self.node_names is None else self._identifier
        for head, rel, tail in rows:
            if resolve is not None:
                head, tail = resolve(head), resolve(tail)
            ids.extend((nodes.setdefault(head, len(nodes)),
                        relations.setdefault(rel, len(relations)),
                        nodes.setdefault(tail, len(nodes))))
        return torch.frombuffer(ids, dtype=torch.long).view(-1, 3)

    def _identifier(self, text: str) -> str:
        owners = self._owners.get(text, [])
        if text in (self.node_names or {}) or not owners:
            return text
        if len(owners) > 1:
            raise DataError('Expected an identifier, or a label of one node, '
                            f'in the triples (got {text!r}, the label of '
                            f'{owners[:3]})')
        return owners[0]


def build_graph(
    parts: dict[str, Tensor],
    labels: Labels,
    where: Mapping[str, str],
    val_ratio: float,
    test_ratio: float,
    seed: int,
    features: Mapping[str, Any] | None,
    allow_overlap: bool,
    stacklevel: int = 4,
) -> KnowledgeGraph:
    r"""Builds a graph from the triples of each split.

    Args:
        parts (dict): The ids :obj:`[num_triples, 3]` of each split.
        labels (Labels): The labels of the ids.
        where (dict): The origin of each split, for messages.
        val_ratio (float): The share of validation triples.
        test_ratio (float): The share of test triples.
        seed (int): The seed of the random split.
        features (dict or None): The vectors of each modality by label.
        allow_overlap (bool): Whether a triple may occur in several splits.
        stacklevel (int, optional): The stack level of warnings.
            (default: :obj:`4`)
    """
    nodes, rel_ids, node_names = (labels.nodes, labels.relations,
                                  labels.node_names)
    if not allow_overlap and len(parts) > 1:
        _check_overlap(parts, labels, where)
    if len(parts) == 1 and val_ratio + test_ratio > 0.0:
        unique = parts['train'][_is_first(parts['train'])]
        repeated = parts['train'].size(0) - unique.size(0)
        if repeated > 0:
            warnings.warn(f"Expected distinct triples in {where['train']} "
                          f'(got {repeated} repetitions). They are ignored.',
                          stacklevel=stacklevel)
        parts = {'train': unique}

    ids = torch.cat(list(parts.values()))
    head, edge_type, tail = ids.t().contiguous()
    if len(parts) > 1:
        sizes = torch.tensor([part.size(0) for part in parts.values()])
        split = torch.arange(len(parts)).repeat_interleave(sizes)
        masks: dict[str, Any] = {f'{name}_mask': split == i
                                 for i, name in enumerate(parts)}
    else:
        masks = _random_split(ids, val_ratio, test_ratio, seed)

    names = list(nodes)
    identifiers = None if node_names is None else names
    if node_names is not None:
        names = [node_names.get(name, name) for name in names]
    attributes: dict[str, Any] = {}
    encoders: dict[str, Any] = {}
    if not isinstance(features, Mapping | None):
        raise DataError("Expected 'features' to be a dict of modalities (got "
                        f'{type(features).__name__})')
    for modality, values in (features or {}).items():
        x, mask = align_features(modality, _by_text(values, modality), names,
                                 identifiers)
        attributes[f'x_{modality}'] = x
        attributes[f'mask_{modality}'] = mask
        encoder = encoder_of(values)
        if encoder is not None:
            encoders[modality] = encoder
    if encoders:
        attributes['feature_encoders'] = encoders

    kg = KnowledgeGraph(
        edge_index=torch.stack([head, tail]),
        edge_type=edge_type,
        num_nodes=len(nodes),
        num_relations=len(rel_ids),
        node_names=names,
        relation_names=list(rel_ids),
        node_ids=identifiers,
        **masks,
        **attributes,
    )
    kg.validate()
    return kg


def _by_text(values: Any, modality: str) -> Any:
    if hasattr(values, 'index') and hasattr(values, 'to_numpy'):
        try:
            table = torch.as_tensor(values.to_numpy(dtype='float32',
                                                    copy=True))
        except (TypeError, ValueError) as error:
            raise DataError("Expected numbers in the table of modality "
                            f"'{modality}' (got an error: {error})"
                            ) from error
        values = dict(zip(values.index, table, strict=True))
        if len(values) != table.size(0):
            raise DataError('Expected one row per label in the table of '
                            f"modality '{modality}' (got {table.size(0)} rows "
                            f'for {len(values)} labels)')
    if not isinstance(values, Mapping):
        return values
    known: dict[str, Any] = {}
    return {_text(key, known, f"the features of modality '{modality}'"): value
            for key, value in values.items()}


def _first(ids: Tensor) -> Tensor:
    r"""Returns the first row :obj:`[E]` that is equal to each row of triples
    :obj:`[E, 3]`.
    """
    head, rel, tail = ids.t()
    # The pairs are numbered, so that the numbers of triples fit into 64 bits.
    pair = (head * (rel.max() + 1) + rel).unique(return_inverse=True)[1]
    key = (pair * (tail.max() + 1) + tail).unique(return_inverse=True)[1]
    return _earliest(key, torch.arange(key.numel()))[key]


def _earliest(key: Tensor, position: Tensor) -> Tensor:
    r"""Returns the smallest position of each key."""
    first = torch.full((int(key.max()) + 1, ), key.numel())
    return first.scatter_reduce_(0, key, position, 'amin')


def _is_first(ids: Tensor) -> Tensor:
    return _first(ids) == torch.arange(ids.size(0))


def _check_overlap(parts: dict[str, Tensor], labels: Labels,
                   where: Mapping[str, str]) -> None:
    sizes = torch.tensor([part.size(0) for part in parts.values()])
    split = torch.arange(len(parts)).repeat_interleave(sizes)
    start = sizes.cumsum(0) - sizes
    ids = torch.cat(list(parts.values()))
    first = _first(ids)
    bad = (split[first] != split).nonzero().view(-1)
    if bad.numel() == 0:
        return
    row, other = int(bad[0]), int(first[bad[0]])
    (name, i), (before, j) = ((list(parts)[int(split[x])], int(
        x - start[split[x]]) + 1) for x in (row, other))
    nodes, relations = list(labels.nodes), list(labels.relations)
    head, rel, tail = ids[row].tolist()
    triple = (nodes[head], relations[rel], nodes[tail])
    raise DataError(
        f'Expected splits without common triples (got {triple} as triple {i} '
        f'of {where[name]} and triple {j} of {where[before]}). Pass '
        'allow_overlap=True to accept it, although metrics become too '
        'optimistic.')


def _random_split(ids: Tensor, val_ratio: float, test_ratio: float,
                  seed: int) -> dict[str, Any]:
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
        keep[_earliest(key, pos)] = True
    perm = perm[keep.long().argsort(stable=True)]

    split = torch.zeros(num_edges, dtype=torch.long)
    split[perm[:num_test]] = 2
    split[perm[num_test:num_test + num_val]] = 1
    return {f'{name}_mask': split == i
            for i, name in enumerate(['train', 'val', 'test'])
            if bool((split == i).any())}
