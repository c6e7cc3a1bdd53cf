from __future__ import annotations

import os
import warnings
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyg_mmkgc.data.text import read_lines
from pyg_mmkgc.errors import DataError, FormatError
from pyg_mmkgc.io.tensors import read_safetensors


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
            :obj:`labels.txt` beside it. A label that is no node is left out
            with a warning.
        node_names (list of str): The label of each node.

    Returns:
        The features with shape :obj:`[num_nodes, num_channels]`, zero where
        there are none, and the mask of rows that are there with shape
        :obj:`[num_nodes]`.
    """
    if isinstance(features, Mapping):
        where = f"features of modality '{modality}'"
        labels, x = list(features), _stack(features, where)
    else:
        where = f"modality '{modality}': '{os.fspath(features)}'"
        labels, x = _read(Path(features), where)

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
    out = x.new_zeros(len(node_names), x.size(1))
    out[index[known]] = x[known]
    mask = torch.zeros(len(node_names), dtype=torch.bool)
    mask[index[known]] = True
    return out, mask


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


def _read(path: Path, where: str) -> tuple[list[str], Tensor]:
    if path.suffix == '.npz':
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {label: file[label] for label in file.files}
        except (ValueError, TypeError, EOFError, KeyError, zlib.error,
                zipfile.BadZipFile) as error:
            raise FormatError(f'{where}: expected an .npz file with one array '
                              f'of floats per label, but reading it failed: '
                              f'{error}') from error
        return list(arrays), _stack(arrays, where)

    if path.suffix == '.safetensors':
        _, tensors = read_safetensors(path)
        if len(tensors) != 1:
            raise FormatError(f'{where}: expected one tensor (got '
                              f'{sorted(tensors)})')
        x = next(iter(tensors.values()))
        if x.dim() != 2 or x.numel() == 0 or not x.is_floating_point():
            raise FormatError(f'{where}: expected a table of floats (got '
                              f'{x.dtype} with shape {list(x.shape)})')
        labels_path = path.with_name('labels.txt')
        labels = read_lines(labels_path)
        if len(labels) != x.size(0):
            raise FormatError(f'{where}: the table has {x.size(0)} rows, but '
                              f"'{labels_path}' has {len(labels)} labels")
        first: dict[str, int] = {}
        for row, label in enumerate(labels, start=1):
            if first.setdefault(label, row) != row:
                raise FormatError(f"'{labels_path}', row {row}: label "
                                  f'{label!r} is already in row '
                                  f'{first[label]}')
        return labels, x

    raise DataError(f'{where}: expected a dict, an .npz or a .safetensors '
                    f'file')
