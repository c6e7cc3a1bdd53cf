r"""Folders whose files are the ones that were written, byte by byte."""
from __future__ import annotations

import contextlib
import hashlib
import os
import warnings
from collections.abc import Sequence
from typing import Any

from pyg_mmkgc.errors import CheckpointError, FormatError
from pyg_mmkgc.io.atomic import read_json, write_json
from pyg_mmkgc.io.reading import PathLike, as_path, file_sha256, read_file
from pyg_mmkgc.io.schema import check_schema, parse_json

MANIFEST = 'manifest.json'
FORMAT, VERSION = 'pyg_mmkgc.manifest', 1
SCHEMA = {'format': str, 'version': int, 'files': {str: str}}


def seal(folder: PathLike, names: Sequence[str] | None = None) -> None:
    r"""Writes the SHA-256 of a folder's files to its :obj:`manifest.json`.

    Do so after you have changed a file in it by hand.

    Args:
        folder (str or os.PathLike): The folder.
        names (list of str, optional): The names of the files that are
            recorded if they are there. (default: :obj:`None`, all files but
            hidden ones)
    """
    folder = as_path(folder)
    if names is None:
        names = [name for name in os.listdir(folder) if name != MANIFEST
                 and name[0] != '.' and (folder / name).is_file()]
    write_json(folder / MANIFEST, {
        'format': FORMAT, 'version': VERSION,
        'files': {name: file_sha256(folder / name) for name in sorted(names)
                  if (folder / name).is_file()}})


def unseal(folder: PathLike) -> None:
    r"""Removes the manifest of a folder that is about to be written."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(as_path(folder) / MANIFEST)


class SealedFolder:
    r"""A folder and its manifest, if it has one.

    Args:
        folder (str or os.PathLike): The folder.

    Raises:
        FormatError: If the manifest is damaged.
    """
    def __init__(self, folder: PathLike) -> None:
        self.folder = as_path(folder)
        self.sha256: dict[str, str] | None = None
        path = self.folder / MANIFEST
        if path.is_file():
            content = read_json(path)
            check_schema(content, SCHEMA, f"'{path}'")
            if content['format'] != FORMAT or content['version'] != VERSION:
                raise FormatError(f"'{path}': expected the format {FORMAT}, "
                                  f'version {VERSION}, got '
                                  f"{content['format']!r:.40}, version "
                                  f"{content['version']}")
            self.sha256 = content['files']

    def warn_if_unsealed(self, stacklevel: int) -> None:
        r"""Warns where an earlier version wrote no manifest."""
        if self.sha256 is None:
            warnings.warn(f"'{self.folder}' has no '{MANIFEST}': an earlier "
                          'version wrote it, and nothing says whether its '
                          f'files have changed since. {self.advice}',
                          stacklevel=stacklevel + 1)

    @property
    def advice(self) -> str:
        r"""How to make a manifest for what is there."""
        return ('If its files are as they should be, seal them: python -c '
                f'"from pyg_mmkgc.io import seal; seal({str(self.folder)!r})"')

    def has(self, name: str) -> bool:
        r"""Returns whether a file belongs to the folder.

        Raises:
            FormatError: If there is no such file, but there should be.
        """
        there = (self.folder / name).is_file()
        if not there and name in (self.sha256 or {}):
            raise FormatError(f"'{self.folder}': expected '{name}', which its "
                              f'{MANIFEST} names, got none')
        return there

    def read_json(self, name: str, schema: Any) -> Any:
        r"""Reads a JSON file, verified.

        Args:
            name (str): The name of the file.
            schema (Any): As for :func:`~pyg_mmkgc.io.schema.check_schema`.
        """
        path = self.folder / name
        content = read_file(path)
        self._compare(name, hashlib.sha256(content).hexdigest())
        try:
            value = parse_json(content.decode('utf-8'))
        except ValueError as error:
            raise FormatError(f"'{path}': expected JSON in UTF-8, but "
                              f'reading it failed: {error}') from error
        check_schema(value, schema, f"'{path}'", CheckpointError)
        return value

    def expected(self, name: str) -> str | None:
        r"""Returns the SHA-256 that a file must have, :obj:`None` where no
        manifest says so.
        """
        if self.sha256 is None:
            return None
        if name not in self.sha256:
            self._compare(name, 'a file')
        return self.sha256[name]

    def _compare(self, name: str, found: str) -> None:
        if self.sha256 is None or self.sha256.get(name) == found:
            return
        raise FormatError(
            f"'{self.folder / name}': expected the SHA-256 "
            f'{self.sha256.get(name, "of no such file"):.64}, which the '
            f"'{MANIFEST}' beside it names, got {found}: the file is damaged, "
            f'or was changed. {self.advice}')
