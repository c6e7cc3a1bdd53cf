r"""The folders of runs."""

from __future__ import annotations

import contextlib
import errno
import os
import pathlib
from collections.abc import Iterator

from pyg_mmkgc.config.loader import resolve_name
from pyg_mmkgc.errors import ConfigError
from pyg_mmkgc.io.atomic import take_lock
from pyg_mmkgc.io.reading import user_path

#: The folder of runs by default, in the current folder.
RUNS = 'runs'
#: The file that a training process locks. Only the lock has a meaning.
LOCK = '.lock'


def new_folder(name: str, ending: str) -> pathlib.Path:
    r"""Creates the first of :obj:`runs/NAME-ENDING`,
    :obj:`runs/NAME-ENDING-2`, ... that does not exist.
    """
    stem = (pathlib.Path(name).stem if name.lower().endswith(
        ('.yaml', '.yml')) else resolve_name(name).replace('/', '-'))
    stem = f'{stem}-{ending}'
    _make(pathlib.Path(RUNS), RUNS)
    number = 1
    while True:
        path = pathlib.Path(RUNS, stem if number == 1 else f'{stem}-{number}')
        try:
            path.mkdir()  # Fails if another run was faster.
        except FileExistsError:
            number += 1
        else:
            return path


def empty_folder(folder: str) -> pathlib.Path:
    r"""Creates a folder unless it exists and is empty.

    Raises:
        ConfigError: If the path is a file, a folder that is not empty, or a
            folder that cannot be written.
    """
    path = check_empty(folder)
    _make(path, folder)
    return path


def check_empty(folder: str) -> pathlib.Path:
    r"""Returns the path of a folder that does not exist or is empty, and can
    be written. The errors are the same as in :func:`empty_folder`.
    """
    path = user_path(folder)
    if path.exists() and not path.is_dir():
        raise ConfigError(f"Expected '{folder}' to be a new folder (got a "
                          'file)')
    # A process that was killed early leaves only hidden files.
    if path.is_dir() and any(not (file.name.startswith('.')
                                  and file.suffix == '.tmp')
                             and file.name != LOCK
                             for file in path.iterdir()):
        finished = (path / 'metrics.json').exists()
        hint = ('' if finished or not (path / 'config.yaml').exists() else
                f' To continue: mmkgc train --resume {folder}')
        raise ConfigError(f"Expected '{folder}' to be empty (got files that "
                          f'would be overwritten).{hint}')
    there = next(x for x in (path, *path.absolute().parents) if x.exists())
    if not there.is_dir():
        raise _unwritable(folder, errno.ENOTDIR)
    if not os.access(there, os.W_OK):
        raise _unwritable(folder, errno.EACCES)
    return path


def _make(path: pathlib.Path, name: str) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(name, error.errno) from None
    if not os.access(path, os.W_OK):
        raise _unwritable(name, errno.EACCES)


def _unwritable(name: str, code: int | None) -> ConfigError:
    return ConfigError(f"Expected '{name}' to be a folder that can be written "
                       f'(got an error: {os.strerror(code or errno.EIO)}). '
                       'Pass another --output.')


@contextlib.contextmanager
def lock_folder(folder: pathlib.Path) -> Iterator[None]:
    r"""Context manager that keeps other processes from training in a folder.

    Args:
        folder (pathlib.Path): The folder of a run.

    Raises:
        ConfigError: If another process trains in the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # Removing the file could remove another process's lock.
    with open(folder / LOCK, 'wb') as file:
        if not take_lock(file):
            raise ConfigError(f"Expected no other process to train in "
                              f"'{folder}' (got a locked folder). Wait for "
                              'the process, or end it.')
        yield
