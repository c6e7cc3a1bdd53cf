r"""Where the feature tables of the published benchmarks are."""
from __future__ import annotations

import pathlib
import shutil

from pyg_mmkgc.errors import DataError, DownloadError, FormatError
from pyg_mmkgc.io.archive import extract
from pyg_mmkgc.io.atomic import atomic_path, temporary_folder
from pyg_mmkgc.io.download import download_drive
from pyg_mmkgc.io.features import load_features

ARCHIVE_ID = '1nRHdeWiVi9d_FKli3x7sO87ARasad39w'  # Of MoMoK.
FOLDER_ID = '1UJSfnb8DEx2s-k8zaQx1fWUw5f45GBpI'  # Of AdaMF-MAT.

# File names without suffix; the one that the authors gave comes first.
STEMS = {
    'visual': ('{name}-visual', 'visual'),
    'text': ('{name}-textual', 'text'),
}
SUFFIXES = ('.pth', '.safetensors', '.npy')


def find_features(folder: pathlib.Path, name: str) -> dict[str, pathlib.Path]:
    r"""Finds the feature files of a benchmark.

    Args:
        folder (pathlib.Path): Where to look.
        name (str): The name of the benchmark as the files have it.

    Returns:
        The file of each modality that has one. Of several, the one with the
        authors' name is taken.
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
    r"""Returns the error that says what to put where."""
    return DataError(
        f"'{folder}': there are no features of {name}. {by_hand(name)} Or "
        f"pass features={{'text': path or tensor}}, download_features=True "
        f"to try to fetch them, or features='none' for the triples alone.")


def by_hand(name: str) -> str:
    r"""Returns how to get the features of a benchmark by hand."""
    files = ' and '.join(f'{stems[0].format(name=name)}.pth'
                         for stems in STEMS.values())
    own = ' and '.join(f'{stems[1]}' for stems in STEMS.values())
    return (f'Put {files} there (from '
            f'https://drive.google.com/drive/folders/{FOLDER_ID} or the '
            f'archive https://drive.google.com/file/d/{ARCHIVE_ID}), or '
            f'tables of your own as {own} with the ending '
            f'{", ".join(SUFFIXES)}.')


def fetch_features(folder: pathlib.Path, name: str, num_nodes: int) -> None:
    r"""Fetches the features that are not there from Google Drive.

    Args:
        folder (pathlib.Path): Where to put them.
        name (str): The name of the benchmark as the files have it.
        num_nodes (int): The number of rows that they must have.
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
            f'no {" and ".join(sorted(missing))} features of {name} came from '
            f'Google Drive for \'{folder}\': {" ".join(failures)} '
            f'{by_hand(name)}')


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
        # Nobody published a hash: what is kept has at least to fit.
        rows = load_features(found[0]).size(0)
        if rows != num_nodes:
            raise FormatError(f"'{found[0].name}': expected {num_nodes} rows, "
                              f'got {rows}')
        with atomic_path(folder / found[0].name) as target:
            shutil.copyfile(found[0], target)
