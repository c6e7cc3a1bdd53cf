from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch_geometric.utils import to_dense_batch

from pyg_mmkgc.data.text import read_lines
from pyg_mmkgc.errors import DataError, FormatError
from pyg_mmkgc.io.atomic import read_json
from pyg_mmkgc.io.features import is_pointer, verify_features
from pyg_mmkgc.io.npz import read_npz
from pyg_mmkgc.io.reading import as_path
from pyg_mmkgc.io.tensors import read_safetensors

TABLE, MANIFEST = 'features.safetensors', 'manifest.json'


def find_table(path: str | os.PathLike[str]) -> Path | None:
    r"""Returns the table of a folder that :obj:`mmkgc features` wrote, given
    the folder or that table, and :obj:`None` for any other path.
    """
    path = Path(path)
    table = path / TABLE if path.is_dir() else path
    labelled = table.name == TABLE and table.with_name(MANIFEST).is_file()
    return table if path.is_dir() or labelled else None


def align_features(
    modality: str,
    features: Mapping[str, Any] | str | os.PathLike[str],
    node_names: list[str],
) -> tuple[Tensor, Tensor]:
    r"""Aligns features that are keyed by label with the nodes of a graph.

    Args:
        modality (str): The modality's name, for messages.
        features (dict or str): A vector per label, or a file:
            :obj:`.npz` with one array per label, or :obj:`.safetensors` with
            one table whose rows belong to the lines of the file
            :obj:`labels.txt` beside it. With a second tensor :obj:`ptr`, the
            rows from :obj:`ptr[i]` to :obj:`ptr[i + 1]` belong to line
            :obj:`i`. A folder stands for the :obj:`features.safetensors` in
            it. A label that is no node is left out with a warning.
        node_names (list of str): The label of each node.

    Returns:
        The features with shape :obj:`[num_nodes, num_channels]`, zero where
        there are none, and the mask of rows that are there with shape
        :obj:`[num_nodes]`. With :obj:`ptr`, the features have shape
        :obj:`[num_nodes, num_instances, num_channels]`, as wide as the node
        with most rows needs, and the mask :obj:`[num_nodes, num_instances]`.

    Raises:
        DataError: If they are of another type or fit no node.
        FormatError: If a file is not as described, or a folder's table not
            the one that its manifest names.
    """
    ptr: Tensor | None = None
    if isinstance(features, Mapping):
        where = f"features of modality '{modality}'"
        labels, x = list(features), _stack(features, where)
    elif not isinstance(features, (str, os.PathLike)):
        raise DataError(f"features of modality '{modality}': expected a "
                        'vector per label or the path of a file, got '
                        f'{type(features).__name__}')
    else:
        path = as_path(features)
        where = f"modality '{modality}': '{path}'"
        labels, x, ptr = _read(find_table(path) or path, where)

    ids = {name: i for i, name in enumerate(node_names)}
    index = torch.tensor([ids.get(label, -1) for label in labels])
    known = index >= 0
    if not bool(known.any()):
        raise DataError(f'{where}: none of the {len(labels)} labels is a node '
                        f'(labels begin with {labels[:3]}, nodes with '
                        f'{node_names[:3]})')
    if not bool(known.all()):
        unknown = [label for label in labels if label not in ids]
        warnings.warn(
            f'{where}: {len(unknown)} of {len(labels)} labels are no node and '
            f'left out: {", ".join(map(repr, unknown[:3]))}'
            f'{", ..." if len(unknown) > 3 else ""}', stacklevel=4)
    if ptr is not None:
        return _pad(index, x, ptr, len(node_names), where)
    out = x.new_zeros(len(node_names), x.size(1))
    out[index[known]] = x[known]
    mask = torch.zeros(len(node_names), dtype=torch.bool)
    mask[index[known]] = True
    return out, mask


def _pad(index: Tensor, x: Tensor, ptr: Tensor, num_nodes: int,
         where: str) -> tuple[Tensor, Tensor]:
    node = index.repeat_interleave(ptr.diff())
    node, perm = node.sort(stable=True)  # A node's rows stay in order.
    known = node >= 0
    if not bool(known.any()):
        raise DataError(f'{where}: has rows for labels that are no node only')
    return to_dense_batch(x[perm[known]], node[known], batch_size=num_nodes)


def _stack(features: Mapping[str, Any], where: str) -> Tensor:
    rows: list[Tensor] = []
    for label, value in features.items():
        try:
            row = torch.as_tensor(value)
        except (TypeError, ValueError, RuntimeError) as error:
            raise DataError(f'{where}: {label!r} is no vector: '
                            f'{error}') from error
        if row.dim() != 1 or row.numel() == 0 or not row.is_floating_point():
            raise DataError(f'{where}: {label!r} must be a vector of floats '
                            f'(got {row.dtype} with shape {list(row.shape)})')
        if rows and row.numel() != rows[0].numel():
            raise DataError(f'{where}: {label!r} must have '
                            f'{rows[0].numel()} channels like the first one '
                            f'(got {row.numel()})')
        rows.append(row)
    if len(rows) == 0:
        raise DataError(f'{where}: there are none')
    return torch.stack(rows)


def _verify(table: Path, manifest: Path) -> None:
    content = read_json(manifest)
    if not isinstance(content, dict):
        raise FormatError(f"'{manifest}': expected the manifest of features, "
                          f'got {type(content).__name__}')
    verify_features(table, content)


def _read(path: Path,
          where: str) -> tuple[list[str], Tensor, Tensor | None]:
    if not path.exists():
        raise DataError(f"{where}: there is no file or folder '{path}'")
    if path.suffix == '.npz':
        arrays = read_npz(path)
        return list(arrays), _stack(arrays, where), None

    if path.suffix == '.safetensors':
        _, tensors = read_safetensors(path)
        ptr = tensors.pop('ptr') if 'x' in tensors and (
            'ptr' in tensors) else None
        if len(tensors) != 1:
            raise FormatError(f"{where}: expected one tensor, or 'x' and "
                              f"'ptr' (got {sorted(tensors)})")
        x = next(iter(tensors.values()))
        if x.dim() != 2 or x.numel() == 0 or not x.is_floating_point():
            raise FormatError(f'{where}: expected a table of floats (got '
                              f'{x.dtype} with shape {list(x.shape)})')
        if ptr is not None and not is_pointer(ptr, x.size(0)):
            raise FormatError(f"{where}: expected 'ptr' to rise from 0 to "
                              f'{x.size(0)}, the number of rows')
        num_rows = x.size(0) if ptr is None else ptr.numel() - 1
        manifest = path.with_name(MANIFEST)
        if path.name == TABLE and manifest.is_file():
            _verify(path, manifest)
        labels_path = path.with_name('labels.txt')
        labels = read_lines(labels_path)
        if len(labels) != num_rows:
            raise FormatError(f'{where}: the table has {num_rows} rows, but '
                              f"'{labels_path}' has {len(labels)} labels")
        first: dict[str, int] = {}
        for row, label in enumerate(labels, start=1):
            if first.setdefault(label, row) != row:
                raise FormatError(f"'{labels_path}', row {row}: label "
                                  f'{label!r} is already in row '
                                  f'{first[label]}')
        return labels, x, ptr

    raise DataError(f'{where}: expected a dict, an .npz or a .safetensors '
                    f'file')
