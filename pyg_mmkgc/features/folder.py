r"""The folder that features are stored in."""

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
#: Where images or texts were, for who looks at features again.
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
    r"""Features that :func:`~pyg_mmkgc.features.extract` has written.

    Args:
        x (torch.Tensor): The features with shape
            :obj:`[num_rows, num_channels]`, or
            :obj:`[num_items, num_channels]` where all are kept. They lie in
            the file and are read when used.
        labels (list of str): The label of each row.
        manifest (dict): Where the features come from, and what became of
            each input.
        ptr (torch.Tensor, optional): Where all are kept, the boundaries of
            the rows in :obj:`x`, with shape :obj:`[num_rows + 1]`.
            (default: :obj:`None`)
    """
    x: Tensor
    labels: list[str]
    manifest: dict[str, Any]
    ptr: Tensor | None = None

    table_names = ('content', )

    @property
    def kind(self) -> str:
        r"""Returns what was encoded: :obj:`'image'` or :obj:`'text'`."""
        return self.manifest['encoder']['kind']

    def mask(self, labels: Sequence[str]) -> Tensor:
        r"""Returns which nodes have features, with shape :obj:`[num_nodes]`.

        Args:
            labels (list of str): The label of each node.
        """
        there = set(self.labels)
        return torch.tensor([label in there for label in labels],
                            dtype=torch.bool)


    def to_dict(self) -> dict[str, Any]:
        r"""Returns the manifest, which is plain values, ready for JSON."""
        return self.manifest

    def to_pandas(self, table: str | None = None) -> Any:
        r"""Returns the features as a :class:`pandas.DataFrame` with a column
        per channel, by label; where all rows of an entity are kept, its
        label comes several times.

        Args:
            table (str, optional): :obj:`"content"` for the table that a
                notebook shows instead. (default: :obj:`None`)

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
    r"""Reads what :func:`~pyg_mmkgc.features.extract` has written.

    Args:
        folder (str or os.PathLike): The folder.

    Raises:
        DataError: If the folder is not there or not complete.
        FormatError: If its files do not fit together, or the table is not
            the one that was written.
    """
    folder = as_path(folder)
    if not (folder / MANIFEST).is_file():
        raise DataError(f"'{folder}': expected complete features, got no "
                        f"'{MANIFEST}'; if they were being extracted, do it "
                        f'again with the same folder')
    manifest = read_json(folder / MANIFEST)
    if (not isinstance(manifest, dict) or manifest.get('format') != FORMAT
            or manifest.get('version') != VERSION):
        raise FormatError(f"'{folder / MANIFEST}': expected the format "
                          f'{FORMAT!r}, version {VERSION}')
    check_schema(manifest, SCHEMA, f"'{folder / MANIFEST}'")
    try:
        text = read_file(folder / LABELS).decode('utf-8')
    except UnicodeDecodeError as error:
        raise FormatError(f"'{folder / LABELS}': expected text in UTF-8: "
                          f'{error}') from error
    labels = text.split('\n')[:-1]
    tensors = _map(folder / FEATURES)
    x, ptr = tensors.get('x'), tensors.get('ptr')
    if (x is None or x.dim() != 2 or set(tensors) - {'x', 'ptr'}
            or x.size(1) != manifest.get('num_channels')):
        raise FormatError(f"'{folder / FEATURES}': expected a table 'x' with "
                          f'{manifest.get("num_channels")} channels')
    if ptr is not None and not is_pointer(ptr, x.size(0)):
        raise FormatError(f"'{folder / FEATURES}': expected 'ptr' to rise "
                          f'from 0 to {x.size(0)}, the number of rows')
    num_rows = x.size(0) if ptr is None else ptr.numel() - 1
    if not num_rows == len(labels) == manifest.get('num_rows'):
        raise FormatError(f"'{folder}': {num_rows} rows, {len(labels)} labels "
                          f'and {manifest.get("num_rows")} rows in the '
                          f'manifest do not fit together')
    verify_features(folder / FEATURES, manifest)
    return FeatureFolder(x, labels, manifest, ptr)


def write_safetensors(path: PathLike, layout: Layout,
                      blocks: Iterable[Tensor]) -> str:
    r"""Writes a safetensors file that may be larger than the memory.

    Args:
        path (str or os.PathLike): The file to write, atomically.
        layout (dict): The type and shape of each tensor.
        blocks (iterable of torch.Tensor): Their content in this order, in
            any number of pieces.

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
    text += b' ' * (-len(text) % 8)  # Tensors begin at multiples of 8.
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
            raise DataError(f"'{path}': {written} bytes instead of the {end} "
                            f'of its tensors')
    return digest.hexdigest()


def _map(path: Path) -> dict[str, Tensor]:
    try:
        with safetensors.safe_open(path, framework='pt') as file:
            return {key: file.get_tensor(key)
                    for key in file.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, OSError, ValueError, TypeError,
            KeyError, AttributeError, RuntimeError) as error:
        raise FormatError(f"'{path}': expected a complete safetensors file: "
                          f'{error}') from error
