r"""The folder of extracted features."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import torch
from torch import Tensor

from pyg_mmkgc.errors import DataError, FormatError
from pyg_mmkgc.features.partial import to_bytes
from pyg_mmkgc.io.atomic import PathLike, atomic_path, read_json
from pyg_mmkgc.io.features import is_pointer, verify_features
from pyg_mmkgc.io.reading import as_path, read_file
from pyg_mmkgc.io.schema import check_schema
from pyg_mmkgc.report import Report, Table, import_pandas

FEATURES, LABELS, MANIFEST = ('features.safetensors', 'labels.txt',
                              'manifest.json')
#: The paths of the images or texts, for later inspection of the features.
SOURCE = 'source.json'
FORMAT, VERSION = 'pyg_mmkgc.features', 1
SCHEMA = {
    'input_sha256?': str, 'features_sha256?': str, 'labels_sha256?': str,
    'num_rows': int, 'num_channels': int, 'num_items': int, 'num_used': int,
    'encoder': {'kind': str, ...: object}, 'without': [str], 'unknown': [str],
    'entities': {str: {'unusable': [{'reason': str, ...: object}],
                       ...: object}},
    ...: object}

_NAMES = {torch.float: 'F32', torch.half: 'F16', torch.bfloat16: 'BF16',
          torch.long: 'I64'}
Layout = Mapping[str, tuple[torch.dtype, Sequence[int]]]


@dataclass(repr=False)
class FeatureFolder(Report):
    r"""Features written by :func:`~pyg_mmkgc.features.extract`.

    Args:
        x (torch.Tensor): The features with shape
            :obj:`[num_rows, num_channels]`, or
            :obj:`[num_items, num_channels]` if all vectors of an entity are
            stored. They are mapped from the file and read on demand.
        labels (list[str]): The label of each row.
        manifest (dict): The origin of the features and the outcome of each
            input.
        ptr (torch.Tensor, optional): The boundaries of the entities in
            :obj:`x` if all vectors are stored, with shape
            :obj:`[num_rows + 1]`. (default: :obj:`None`)
    """
    x: Tensor
    labels: list[str]
    manifest: dict[str, Any]
    ptr: Tensor | None = None

    table_names = ('content', )

    @property
    def kind(self) -> str:
        r"""The kind of inputs, :obj:`"image"` or :obj:`"text"`."""
        return self.manifest['encoder']['kind']

    def mask(self, labels: Sequence[str]) -> Tensor:
        r"""Returns a mask :obj:`[num_nodes]` of the nodes with features.

        Args:
            labels (list[str]): The label of each node.
        """
        there = set(self.labels)
        return torch.tensor([label in there for label in labels],
                            dtype=torch.bool)


    def to_dict(self) -> dict[str, Any]:
        r"""Returns the manifest as plain values, ready for JSON."""
        return self.manifest

    def to_pandas(self, table: str | None = None) -> Any:
        r"""Returns the features as a :class:`pandas.DataFrame`, indexed by
        label and with one column per channel. If all vectors of an entity
        are stored, its label is repeated.

        Args:
            table (str, optional): If set to :obj:`"content"`, returns the
                table that a notebook shows instead. (default: :obj:`None`)

        Raises:
            MMKGCError: If :obj:`pandas` is not installed.
        """
        if table is not None:
            return super().to_pandas(table)
        pandas = import_pandas('to_pandas()')
        labels = self.labels
        if self.ptr is not None:
            labels = [label for label, size in zip(
                labels, self.ptr.diff().tolist(), strict=True)
                for _ in range(size)]
        x = self.x.float() if self.x.dtype == torch.bfloat16 else self.x
        return pandas.DataFrame(x.numpy(), index=pandas.Index(labels,
                                                              name='label'))

    def summary(self) -> dict[str, Any]:
        return {'kind': self.kind,
                'encoder': self.manifest['encoder'].get('name'),
                'num_rows': len(self.labels), 'num_channels': self.x.size(1),
                'without': len(self.manifest.get('without', []))}

    def make_table(self, name: str) -> Table:
        return Table(['', 'value'], list(self.summary().items()), 'Features')


def load_feature_folder(folder: PathLike) -> FeatureFolder:
    r"""Reads features written by :func:`~pyg_mmkgc.features.extract`.

    Args:
        folder (str or os.PathLike): The folder.

    Raises:
        DataError: If the folder is missing or incomplete.
        FormatError: If its files are inconsistent, or the table has changed
            since it was written.
    """
    folder = as_path(folder)
    if not (folder / MANIFEST).is_file():
        raise DataError(f"Expected complete features in '{folder}' (got no "
                        f"'{MANIFEST}'). Repeat an interrupted extraction "
                        f'with the same folder to complete it.')
    manifest = read_json(folder / MANIFEST)
    if (not isinstance(manifest, dict) or manifest.get('format') != FORMAT
            or manifest.get('version') != VERSION):
        raise FormatError(f'Expected the format {FORMAT!r}, version {VERSION} '
                          f"in '{folder / MANIFEST}' (got another format)")
    check_schema(manifest, SCHEMA, f"'{folder / MANIFEST}'")
    try:
        text = read_file(folder / LABELS).decode('utf-8')
    except UnicodeDecodeError as error:
        raise FormatError(f"Expected text in UTF-8 in '{folder / LABELS}' "
                          f'(got an error: {error})') from error
    labels = text.split('\n')[:-1]
    tensors = _map(folder / FEATURES)
    x, ptr = tensors.get('x'), tensors.get('ptr')
    if (x is None or x.dim() != 2 or set(tensors) - {'x', 'ptr'}
            or x.size(1) != manifest.get('num_channels')):
        raise FormatError(f"Expected a table 'x' with "
                          f'{manifest.get("num_channels")} channels in '
                          f"'{folder / FEATURES}' (got {list(tensors)})")
    if ptr is not None and not is_pointer(ptr, x.size(0)):
        raise FormatError(f"Expected 'ptr' to rise from 0 to {x.size(0)}, the "
                          f"number of rows, in '{folder / FEATURES}' (got "
                          'other values)')
    num_rows = x.size(0) if ptr is None else ptr.numel() - 1
    if not num_rows == len(labels) == manifest.get('num_rows'):
        raise FormatError(f'Expected one label per row, and as many rows as '
                          f"the manifest states, in '{folder}' (got "
                          f'{num_rows} rows, {len(labels)} labels and '
                          f'{manifest.get("num_rows")} rows in the manifest)')
    verify_features(folder / FEATURES, manifest)
    return FeatureFolder(x, labels, manifest, ptr)


def write_safetensors(path: PathLike, layout: Layout,
                      blocks: Iterable[Tensor]) -> str:
    r"""Writes a safetensors file that may be larger than memory.

    Args:
        path (str or os.PathLike): The file to write, atomically.
        layout (dict): The type and shape of each tensor.
        blocks (iterable[torch.Tensor]): The content of the tensors in the
            order of :obj:`layout`, split into any number of pieces.

    Returns:
        The SHA-256 of the file.
    """
    header: dict[str, Any] = {'__metadata__': {'format': 'pt'}}
    end = 0
    for name, (dtype, shape) in layout.items():
        begin, end = end, end + torch.Size(shape).numel() * dtype.itemsize
        header[name] = {'dtype': _NAMES[dtype], 'shape': list(shape),
                        'data_offsets': [begin, end]}
    text = json.dumps(header).encode()
    text += b' ' * (-len(text) % 8)  # Tensors start at multiples of 8 bytes.
    digest = hashlib.sha256()
    with atomic_path(path) as temp, open(temp, 'wb') as file:
        start = struct.pack('<Q', len(text)) + text
        file.write(start)
        digest.update(start)
        for content in map(to_bytes, blocks):
            file.write(content)
            digest.update(content)
        written = file.tell() - len(start)
        if written != end:
            raise DataError(f'Expected {end} bytes of tensors for '
                            f"'{path}' (got {written} bytes)")
    return digest.hexdigest()


def _map(path: Path) -> dict[str, Tensor]:
    try:
        with safetensors.safe_open(path, framework='pt') as file:
            return {key: file.get_tensor(key)
                    for key in file.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, OSError, ValueError, TypeError,
            KeyError, AttributeError, RuntimeError) as error:
        raise FormatError(f"Expected a complete safetensors file in '{path}' "
                          f'(got an error: {error})') from error
