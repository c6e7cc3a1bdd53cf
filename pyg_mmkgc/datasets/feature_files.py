r"""Locations of the feature tables of the published benchmarks."""
from __future__ import annotations

import pathlib
import re
import shutil
from collections.abc import Iterable, Sequence

from pyg_mmkgc.errors import DataError, DownloadError, FormatError
from pyg_mmkgc.io.archive import extract
from pyg_mmkgc.io.atomic import atomic_path, temporary_folder
from pyg_mmkgc.io.drive import download_drive
from pyg_mmkgc.io.features import load_features

ARCHIVE_ID = '1nRHdeWiVi9d_FKli3x7sO87ARasad39w'  # From MoMoK.
FOLDER_ID = '1UJSfnb8DEx2s-k8zaQx1fWUw5f45GBpI'  # From AdaMF-MAT.

# The authors' names of the modalities, as in DB15K-textual.pth.
AUTHORS = {'visual': 'visual', 'textual': 'text'}
SUFFIXES = ('.pth', '.safetensors', '.npy', '.npz')
NAMED = f'named by modality, with a suffix of {", ".join(SUFFIXES)}'
TABLES = ('.tsv', '.csv', '.jsonl')
MANIFEST, PARTIAL = 'manifest.json', '.partial'
_MODALITY = re.compile(r'[A-Za-z0-9_-]+')


def find_features(folder: pathlib.Path, name: str) -> dict[str, pathlib.Path]:
    r"""Finds the feature files of a benchmark, one for each modality.

    The file of a modality such as :obj:`caption` is the folder :obj:`caption`
    written by :obj:`mmkgc features`, or the file :obj:`caption` with one of
    the :obj:`SUFFIXES`. Files with the name of the benchmark before the
    modality, such as :obj:`DB15K-visual.pth`, take precedence, followed by
    folders and by files in the order of the suffixes.

    Args:
        folder (pathlib.Path): The folder to search.
        name (str): The name of the benchmark in file names.

    Returns:
        The file of each modality. The modalities of the authors come first,
        then all others in alphabetical order.

    Raises:
        DataError: If :obj:`mmkgc features` has not finished a folder.
    """
    found: dict[str, tuple[int, pathlib.Path]] = {}
    for path in sorted(folder.iterdir()):
        rank = 1
        if path.is_dir():
            if (path / PARTIAL).exists():
                raise DataError(f"Expected complete features in '{path}' (got "
                                "an interrupted extraction). Repeat its "
                                'command to complete it, or delete the '
                                'folder.')
            if not (path / MANIFEST).is_file():
                continue
            modality = path.name
        elif path.suffix in SUFFIXES:
            rank += 1 + SUFFIXES.index(path.suffix)
            modality = path.stem.removeprefix(f'{name}-')
            if modality != path.stem:
                rank, modality = 0, AUTHORS.get(modality, modality)
        else:
            continue
        if _MODALITY.fullmatch(modality) and (
                modality not in found or rank < found[modality][0]):
            found[modality] = rank, path
    first = list(AUTHORS.values())
    order = [*(key for key in first if key in found),
             *(key for key in sorted(found) if key not in first)]
    return {key: found[key][1] for key in order}


def pick_features(found: dict[str, pathlib.Path], names: Sequence[str],
                  folder: pathlib.Path) -> dict[str, pathlib.Path]:
    r"""Returns the feature files of some modalities.

    Args:
        found (dict): The file of each modality.
        names (list[str]): The modalities.
        folder (pathlib.Path): The folder of the files.

    Raises:
        DataError: If a modality has no file.
    """
    for key in names:
        if key not in found:
            raise DataError(f"Expected features of modality '{key}' in "
                            f"'{folder}' (got {', '.join(found) or 'none'})."
                            f'{_to_encode(folder, found, [key])}')
    return {key: found[key] for key in names}


def no_features(folder: pathlib.Path, name: str,
                published: bool = True) -> DataError:
    r"""Returns the error for missing features, with instructions.

    Args:
        folder (pathlib.Path): The folder of the features.
        name (str): The name of the benchmark in file names.
        published (bool, optional): If set to :obj:`True`, features can be
            downloaded. (default: :obj:`True`)
    """
    ways = [f'{by_hand(name)} Or p' if published else
            f'Put your own tables there, {NAMED}. Or p',
            "ass features={'text': path or tensor}, "]
    if published:
        ways.append('download_features=True to try to download them, ')
    return DataError(
        f"Expected features of {name} in '{folder}' (got none)."
        f"{_to_encode(folder)} {''.join(ways)}or features='none' to use the "
        f'triples only.')


def _to_encode(folder: pathlib.Path, found: Iterable[str] = (),
               names: Iterable[str] | None = None) -> str:
    r"""Returns advice for tables of raw texts or numbers."""
    for path in sorted(folder.iterdir()):
        if (path.suffix in TABLES and path.stem not in found
                and (names is None or path.stem in names)):
            return (f" '{path.name}' there becomes features by: mmkgc "
                    f"features texts {path} --encoder sentence-bert, or, for "
                    f'a table of numbers, by: mmkgc features numbers {path}.')
    return ''


def by_hand(name: str) -> str:
    r"""Returns instructions to get the features of a benchmark by hand.

    Args:
        name (str): The name of the benchmark in file names.
    """
    files = ' and '.join(f'{name}-{key}.pth' for key in AUTHORS)
    return (f'Put {files} there (from '
            f'https://drive.google.com/drive/folders/{FOLDER_ID} or the '
            f'archive https://drive.google.com/file/d/{ARCHIVE_ID}), or your '
            f'own tables, {NAMED}.')


def fetch_features(folder: pathlib.Path, name: str, num_nodes: int) -> None:
    r"""Downloads missing features from Google Drive.

    Args:
        folder (pathlib.Path): The folder to write to.
        name (str): The name of the benchmark in file names.
        num_nodes (int): The expected number of rows.

    Raises:
        DownloadError: If features are still missing.
    """
    failures: list[str] = []
    for is_folder in (False, True):
        if not _missing(folder, name):
            return
        with temporary_folder(folder / 'features') as temp:
            try:
                _fetch(temp, is_folder)
                _take(temp, folder, name, num_nodes)
            except (DownloadError, DataError) as error:
                failures.append(str(error))
    missing = _missing(folder, name)
    if missing:
        raise DownloadError(
            f'Expected {" and ".join(missing)} features of {name} '
            f"from Google Drive for '{folder}' (got none). "
            f'{" ".join(failures)} {by_hand(name)}')


def _missing(folder: pathlib.Path, name: str) -> list[str]:
    return sorted(set(AUTHORS.values()) - set(find_features(folder, name)))


def _fetch(temp: pathlib.Path, is_folder: bool) -> None:
    if is_folder:
        download_drive(FOLDER_ID, temp / 'files', folder=True)
    else:
        archive = download_drive(ARCHIVE_ID, temp / 'archive')
        extract(archive, temp / 'files')


def _take(
    temp: pathlib.Path,
    folder: pathlib.Path,
    name: str,
    num_nodes: int,
) -> None:
    there = find_features(folder, name)
    for key, modality in AUTHORS.items():
        found = sorted(temp.rglob(f'{name}-{key}.pth'))
        if modality in there or not found:
            continue
        # No hash was published, so only the number of rows can be checked.
        rows = load_features(found[0]).size(0)
        if rows != num_nodes:
            raise FormatError(f"Expected {num_nodes} rows, one per node, in "
                              f"'{found[0].name}' (got {rows})")
        with atomic_path(folder / found[0].name) as target:
            shutil.copyfile(found[0], target)
