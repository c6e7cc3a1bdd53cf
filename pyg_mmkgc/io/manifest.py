r"""Folders with a manifest that detects changed files."""
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

    Call this function after changing a file of the folder by hand.

    Args:
        folder (str or os.PathLike): The folder.
        names (list[str], optional): The names of the files to record.
            Missing files are skipped. (default: :obj:`None`, all files
            except hidden ones)
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
    r"""Removes the manifest of a folder before its files are rewritten."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(as_path(folder) / MANIFEST)


class SealedFolder:
    r"""A folder and its optional manifest.

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
                raise FormatError(f"Expected the format {FORMAT}, version "
                                  f"{VERSION}, in '{path}' (got "
                                  f"{content['format']!r:.40}, version "
                                  f"{content['version']})")
            self.sha256 = content['files']

    def warn_if_unsealed(self, stacklevel: int) -> None:
        r"""Warns if the folder has no manifest."""
        if self.sha256 is None:
            warnings.warn(f"Expected '{MANIFEST}' in '{self.folder}' (got "
                          'none). An earlier version wrote the folder, so '
                          'changes to its files cannot be detected. '
                          f'{self.advice}',
                          stacklevel=stacklevel + 1)

    @property
    def advice(self) -> str:
        r"""The advice to create a manifest for the current files."""
        return ('If its files are correct, seal them: python -c '
                f'"from pyg_mmkgc.io import seal; seal({str(self.folder)!r})"')

    def has(self, name: str) -> bool:
        r"""Returns :obj:`True` if a file belongs to the folder.

        Raises:
            FormatError: If the manifest lists the file, but it is missing.
        """
        there = (self.folder / name).is_file()
        if not there and name in (self.sha256 or {}):
            raise FormatError(f"Expected '{name}', which its {MANIFEST} "
                              f"lists, in '{self.folder}' (got none)")
        return there

    def read_json(self, name: str, schema: Any) -> Any:
        r"""Reads and verifies a JSON file.

        Args:
            name (str): The name of the file.
            schema (Any): The schema of the content, see
                :func:`~pyg_mmkgc.io.schema.check_schema`.
        """
        path = self.folder / name
        content = read_file(path)
        self._compare(name, hashlib.sha256(content).hexdigest())
        try:
            value = parse_json(content.decode('utf-8'))
        except ValueError as error:
            raise FormatError(f"Expected JSON in UTF-8 in '{path}' (got an "
                              f'error: {error})') from error
        check_schema(value, schema, f"'{path}'", CheckpointError)
        return value

    def expected(self, name: str) -> str | None:
        r"""Returns the expected SHA-256 of a file, or :obj:`None` if the
        folder has no manifest.
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
            f"Expected '{self.folder / name}' to match its SHA-256 in the "
            f"'{MANIFEST}' next to it, which is "
            f'{self.sha256.get(name, "missing"):.64} (got {found}). The file '
            f'is damaged or was changed. {self.advice}')
