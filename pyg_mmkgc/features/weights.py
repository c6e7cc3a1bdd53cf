r"""Pre-trained models of other libraries: from a folder, the cache or the
hub.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any, TypeVar

import torch

from pyg_mmkgc.errors import DownloadError, MMKGCError
from pyg_mmkgc.io.tensors import digest

T = TypeVar('T')


def load_library(name: str) -> ModuleType:
    r"""Imports a library that is optional.

    Args:
        name (str): Its name in Python.

    Raises:
        MMKGCError: If it is not installed, or broken.
    """
    try:
        return import_module(name)
    # A torchvision built for another PyTorch is no ImportError.
    except (ImportError, RuntimeError) as error:
        raise MMKGCError(f'this encoder needs {name}: pip install '
                         f'"pyg_mmkgc[features]" (importing it failed: '
                         f'{error})') from error


def from_hub(name: str, load: Callable[[bool], T]) -> T:
    r"""Loads a model, from the network only if it is not on this machine.

    Args:
        name (str): Its name or folder.
        load (callable): Loads it; the argument says whether only files of
            this machine may be used.

    Raises:
        DownloadError: If it is nowhere.
    """
    try:
        return load(True)
    except (OSError, ValueError) as error:
        if os.path.isdir(name):
            raise DownloadError(f'{name!r}: the model in this folder could '
                                f'not be loaded: {error}') from error
    try:
        return load(False)
    except (OSError, ValueError) as error:
        raise DownloadError(no_weights(name, error)) from error


def no_weights(name: str, error: Exception) -> str:
    r"""Returns the message for a model that is nowhere."""
    return (f'{name!r}: expected a folder, or a model that is in the cache or '
            f'can be downloaded, but neither worked: {error}. Without '
            f'network, give the folder of a copy of the model; the encoders '
            f"'descriptor' and 'hashing' need no weights")


def describe_weights(model: torch.nn.Module) -> dict[str, Any]:
    r"""Returns what tells the weights of a model from all others.

    Args:
        model (torch.nn.Module): The model.

    Returns:
        The SHA-256 of the weights, and, for a model of a hub, the revision.
    """
    state = {key: value.detach().cpu().contiguous()
             for key, value in model.state_dict().items()}
    config = getattr(model, 'config', None)
    return {'revision': getattr(config, '_commit_hash', None),
            'weights_sha256': digest(state, '')}
