r"""Locations of the feature tables of the published benchmarks."""
from __future__ import annotations

import pathlib
import shutil

from pyg_mmkgc.errors import DataError, DownloadError, FormatError
from pyg_mmkgc.io.archive import extract
from pyg_mmkgc.io.atomic import atomic_path, temporary_folder
from pyg_mmkgc.io.download import download_drive
from pyg_mmkgc.io.features import load_features

ARCHIVE_ID = '1nRHdeWiVi9d_FKli3x7sO87ARasad39w'  # From MoMoK.
FOLDER_ID = '1UJSfnb8DEx2s-k8zaQx1fWUw5f45GBpI'  # From AdaMF-MAT.

# The file names without suffix, starting with the authors' names.
STEMS = {
    'visual': ('{name}-visual', 'visual'),
    'text': ('{name}-textual', 'text'),
}
SUFFIXES = ('.pth', '.safetensors', '.npy')


def find_features(folder: pathlib.Path, name: str) -> dict[str, pathlib.Path]:
    r"""Finds the feature files of a benchmark.

    Args:
        folder (pathlib.Path): The folder to search.
        name (str): The name of the benchmark in file names.

    Returns:
        The file of each modality that has one. A file with the authors' name
        takes precedence.
    """
    out: dict[str, pathlib.Path] = {}
    for modality, stems in STEMS.items():
        for stem in stems:
            for suffix in SUFFIXES:
                path = folder / (stem.format(name=name) + suffix)
                if modality not in out and path.is_file():
                    out[modality] = path
    return out


def no_features(folder: pathlib.Path, name: str) -> DataError:
    r"""Returns the error for missing features, with instructions.

    Args:
        folder (pathlib.Path): The folder of the features.
        name (str): The name of the benchmark in file names.
    """
    return DataError(
        f"Expected features of {name} in '{folder}' (got none). "
        f"{by_hand(name)} Or pass features={{'text': path or tensor}}, "
        f"download_features=True to try to download them, or features='none' "
        f"to use the triples only.")


def by_hand(name: str) -> str:
    r"""Returns instructions to get the features of a benchmark by hand.

    Args:
        name (str): The name of the benchmark in file names.
    """
    files = ' and '.join(f'{stems[0].format(name=name)}.pth'
                         for stems in STEMS.values())
    own = ' and '.join(f'{stems[1]}' for stems in STEMS.values())
    return (f'Put {files} there (from '
            f'https://drive.google.com/drive/folders/{FOLDER_ID} or the '
            f'archive https://drive.google.com/file/d/{ARCHIVE_ID}), or your '
            f'own tables as {own} with one of the suffixes '
            f'{", ".join(SUFFIXES)}.')


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
        if set(find_features(folder, name)) == set(STEMS):
            return
        with temporary_folder(folder / 'features') as temp:
            try:
                _fetch(temp, is_folder)
                _take(temp, folder, name, num_nodes)
            except (DownloadError, DataError) as error:
                failures.append(str(error))
    missing = set(STEMS) - set(find_features(folder, name))
    if missing:
        raise DownloadError(
            f'Expected {" and ".join(sorted(missing))} features of {name} '
            f"from Google Drive for '{folder}' (got none). "
            f'{" ".join(failures)} {by_hand(name)}')


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
    for modality, stems in STEMS.items():
        found = sorted(temp.rglob(stems[0].format(name=name) + '.pth'))
        if modality in there or not found:
            continue
        # No hash was published, so only the number of rows can be checked.
        rows = load_features(found[0]).size(0)
        if rows != num_nodes:
            raise FormatError(f"Expected {num_nodes} rows in "
                              f"'{found[0].name}' (got {rows})")
        with atomic_path(folder / found[0].name) as target:
            shutil.copyfile(found[0], target)
