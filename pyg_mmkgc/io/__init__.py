r"""Atomic and verified files, none of which can run code."""
from typing import TYPE_CHECKING

from pyg_mmkgc.io.archive import extract
from pyg_mmkgc.io.atomic import (
    atomic_path,
    read_json,
    write_atomic,
    write_json,
)
from pyg_mmkgc.io.download import download
from pyg_mmkgc.io.drive import download_drive
from pyg_mmkgc.io.manifest import seal
from pyg_mmkgc.lazy import lazy_names

if TYPE_CHECKING:
    from pyg_mmkgc.io.features import load_features
    from pyg_mmkgc.io.pretrained import load_pretrained, save_pretrained
    from pyg_mmkgc.io.tensors import load_tensors, save_tensors

__all__ = [
    'atomic_path',
    'write_atomic',
    'write_json',
    'read_json',
    'save_tensors',
    'load_tensors',
    'load_features',
    'save_pretrained',
    'load_pretrained',
    'seal',
    'download',
    'download_drive',
    'extract',
]

if not TYPE_CHECKING:  # A checker would take any name for one of these.
    # The files of tensors import torch.
    __getattr__ = lazy_names(__name__, __all__, [
        'pyg_mmkgc.io.tensors', 'pyg_mmkgc.io.features',
        'pyg_mmkgc.io.pretrained'])
