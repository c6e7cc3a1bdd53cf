from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch_geometric.utils import to_dense_batch

from pyg_mmkgc.data.names import places
from pyg_mmkgc.data.text import read_lines
from pyg_mmkgc.errors import DataError, FormatError
from pyg_mmkgc.io.atomic import read_json
from pyg_mmkgc.io.features import is_pointer, verify_features
from pyg_mmkgc.io.npz import read_npz
from pyg_mmkgc.io.reading import as_path
from pyg_mmkgc.io.tensors import read_safetensors

TABLE, MANIFEST = 'features.safetensors', 'manifest.json'


def find_table(path: str | os.PathLike[str]) -> Path | None:
    r"""Returns the feature table of a folder that :obj:`mmkgc features`
    wrote, or :obj:`None` for other paths.

    Args:
        path (str or os.PathLike): The folder or the table in it.
    """
    path = Path(path)
    table = path / TABLE if path.is_dir() else path
    labelled = table.name == TABLE and table.with_name(MANIFEST).is_file()
    return table if path.is_dir() or labelled else None


def encoder_of(features: Any) -> dict[str, Any] | None:
    r"""Returns the description of the encoder in the manifest of a folder
    that :obj:`mmkgc features` wrote, or :obj:`None` for other features.

    Args:
        features (Any): The features, as for :func:`align_features`.
    """
    if not isinstance(features, (str, os.PathLike)):
        return None
    table = find_table(features)
    if table is None or not table.with_name(MANIFEST).is_file():
        return None
    content = read_json(table.with_name(MANIFEST))
    encoder = content.get('encoder') if isinstance(content, dict) else None
    return encoder if isinstance(encoder, dict) else None


def align_features(
    modality: str,
    features: Mapping[str, Any] | str | os.PathLike[str],
    node_names: list[str],
    node_ids: list[str] | None = None,
) -> tuple[Tensor, Tensor]:
    r"""Aligns features that are keyed by label or identifier with the nodes
    of a graph.

    Labels without a node are ignored with a warning.

    Args:
        modality (str): The name of the modality for messages.
        features (dict or str): A dictionary from label to vector, or a path.
            An :obj:`.npz` file holds one array per label. A
            :obj:`.safetensors` file holds one table, whose rows belong to the
            lines of the file :obj:`labels.txt` next to it. If it holds a
            second tensor :obj:`ptr`, the rows from :obj:`ptr[i]` to
            :obj:`ptr[i + 1]` belong to line :obj:`i`. A folder stands for
            its :obj:`features.safetensors`.
        node_names (list[str]): The label of each node.
        node_ids (list[str], optional): The identifier of each node.
            (default: :obj:`None`)

    Returns:
        The features with shape :obj:`[num_nodes, num_channels]`, with zeros
        for nodes without features, and the mask of nodes with features with
        shape :obj:`[num_nodes]`. With :obj:`ptr`, the features have shape
        :obj:`[num_nodes, num_instances, num_channels]`, with the largest
        number of rows of a node as :obj:`num_instances`, and the mask has
        shape :obj:`[num_nodes, num_instances]`.

    Raises:
        DataError: If the features have another type or belong to no node.
        FormatError: If a file is not as described, or differs from its
            manifest.
    """
    ptr: Tensor | None = None
    if isinstance(features, Mapping):
        where = f"features of modality '{modality}'"
        labels, x = list(features), _stack(features, where)
    elif not isinstance(features, (str, os.PathLike)):
        raise DataError('Expected a vector per label or the path of a file as '
                        f"the features of modality '{modality}' (got "
                        f'{type(features).__name__})')
    else:
        path = as_path(features)
        where = f"features of modality '{modality}' in '{path}'"
        labels, x, ptr = _read(find_table(path) or path, where)

    ids = places(node_names, node_ids)
    index = torch.tensor([ids.get(label, -1) for label in labels])
    known = index >= 0
    if not bool(known.any()):
        known_as = f'labels of nodes such as {node_names[:3]}' + (
            f' or identifiers such as {node_ids[:3]}' if node_ids else '')
        raise DataError(f'Expected {known_as} '
                        f'in the {where} (got {len(labels)} labels, none of '
                        f'which is a node, such as {labels[:3]})')
    if not bool(known.all()):
        unknown = [label for label in labels if label not in ids]
        warnings.warn(
            f'Expected every label in the {where} to be a node (got '
            f'{len(unknown)} of {len(labels)} labels that are not: '
            f'{", ".join(map(repr, unknown[:3]))}'
            f'{", ..." if len(unknown) > 3 else ""}). They are ignored.',
            stacklevel=5)
    counts = torch.bincount(index[known], minlength=1)
    if int(counts.max()) > 1:
        node = int(counts.argmax())
        twice = [x for x in labels if ids.get(x) == node][:2]
        raise DataError(f'Expected one vector per node in the {where} (got '
                        f'{twice[0]!r} and {twice[1]!r}, which are the '
                        'identifier and the label of one node)')
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
    node, perm = node.sort(stable=True)  # The rows of a node keep their order.
    known = node >= 0
    if not bool(known.any()):
        raise DataError(f'Expected rows for nodes in the {where} (got rows '
                        'only for labels that are not nodes)')
    return to_dense_batch(x[perm[known]], node[known], batch_size=num_nodes)


def _stack(features: Mapping[str, Any], where: str) -> Tensor:
    rows: list[Tensor] = []
    for label, value in features.items():
        try:
            row = torch.as_tensor(value)
        except (TypeError, ValueError, RuntimeError) as error:
            raise DataError(f'Expected a vector for {label!r} in the {where} '
                            f'(got an error: {error})') from error
        if row.dim() != 1 or row.numel() == 0 or not row.is_floating_point():
            raise DataError(f'Expected a vector of floats for {label!r} in '
                            f'the {where} (got {row.dtype} with shape '
                            f'{list(row.shape)})')
        if rows and row.numel() != rows[0].numel():
            raise DataError(f'Expected {rows[0].numel()} channels for '
                            f'{label!r} in the {where}, as for the first '
                            f'label (got {row.numel()})')
        rows.append(row)
    if len(rows) == 0:
        raise DataError(f'Expected vectors in the {where} (got none)')
    return torch.stack(rows)


def _verify(table: Path, manifest: Path) -> None:
    content = read_json(manifest)
    if not isinstance(content, dict):
        raise FormatError(f"Expected '{manifest}' to be the manifest of "
                          f'features (got {type(content).__name__})')
    verify_features(table, content)


def _read(path: Path,
          where: str) -> tuple[list[str], Tensor, Tensor | None]:
    if not path.exists():
        raise DataError(f'Expected the {where} (got no file or folder '
                        f"'{path}')")
    if path.suffix == '.npz':
        arrays = read_npz(path)
        return list(arrays), _stack(arrays, where), None

    if path.suffix == '.safetensors':
        _, tensors = read_safetensors(path)
        ptr = tensors.pop('ptr') if 'x' in tensors and (
            'ptr' in tensors) else None
        if len(tensors) != 1:
            raise FormatError(f"Expected one tensor, or 'x' and 'ptr', in the "
                              f'{where} (got {sorted(tensors)})')
        x = next(iter(tensors.values()))
        if x.dim() != 2 or x.numel() == 0 or not x.is_floating_point():
            raise FormatError(f'Expected a table of floats as the {where} '
                              f'(got {x.dtype} with shape {list(x.shape)})')
        if ptr is not None and not is_pointer(ptr, x.size(0)):
            raise FormatError(f"Expected 'ptr' to increase from 0 to "
                              f'{x.size(0)}, the number of rows, in the '
                              f'{where} (got {ptr.dtype} with shape '
                              f'{list(ptr.shape)})')
        num_rows = x.size(0) if ptr is None else ptr.numel() - 1
        manifest = path.with_name(MANIFEST)
        if path.name == TABLE and manifest.is_file():
            _verify(path, manifest)
        labels_path = path.with_name('labels.txt')
        labels = read_lines(labels_path)
        if len(labels) != num_rows:
            raise FormatError(f"Expected {num_rows} labels in '{labels_path}' "
                              f'for the rows of the {where} (got '
                              f'{len(labels)})')
        first: dict[str, int] = {}
        for row, label in enumerate(labels, start=1):
            if first.setdefault(label, row) != row:
                raise FormatError(f"Expected unique labels in '{labels_path}' "
                                  f'(got {label!r} in row {row} and row '
                                  f'{first[label]})')
        return labels, x, ptr

    raise DataError(f'Expected a dict, an .npz or a .safetensors file for the '
                    f'{where} (got {path.suffix!r})')
