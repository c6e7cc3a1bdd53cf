r"""Atomic and verified files, none of which can run code."""
from pyg_mmkgc.io.archive import extract
from pyg_mmkgc.io.atomic import (
    atomic_path,
    read_json,
    write_atomic,
    write_json,
)
from pyg_mmkgc.io.download import download, download_drive
from pyg_mmkgc.io.features import load_features
from pyg_mmkgc.io.manifest import seal
from pyg_mmkgc.io.tensors import load_tensors, save_tensors

__all__ = [
    'atomic_path',
    'write_atomic',
    'write_json',
    'read_json',
    'save_tensors',
    'load_tensors',
    'load_features',
    'seal',
    'download',
    'download_drive',
    'extract',
]
