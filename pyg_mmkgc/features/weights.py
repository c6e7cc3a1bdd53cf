r"""Pre-trained models of other libraries from a folder, the cache or the
hub.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, Union

import torch

from pyg_mmkgc.errors import DownloadError, MMKGCError
from pyg_mmkgc.io.tensors import digest


class PretrainedEncoder:
    r"""The base class of encoders with a model of another library.

    Args:
        name (str): The name of the model.
        model (torch.nn.Module): The model.
        device (torch.device or str): The device.
        **facts: Further facts that determine the output.
    """
    def __init__(self, name: str, model: Any,
                 device: Union[str, torch.device], **facts: Any) -> None:
        self._about = {'name': name, **describe_weights(model), **facts}
        self.device = torch.device(device)
        self.model = model.to(self.device).eval()

    def describe(self) -> dict[str, Any]:
        return self._about


def load_library(name: str) -> ModuleType:
    r"""Imports an optional library.

    Args:
        name (str): The name of the module.

    Raises:
        MMKGCError: If the library is not installed or broken.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise MMKGCError(f"Expected '{name}' to be installed for this encoder "
                         f'(got {error}). Run: pip install '
                         f'"pyg_mmkgc[features]"') from error
    except RuntimeError as error:
        # PyPI's torchvision is built for CUDA, unlike some builds of PyTorch.
        raise MMKGCError(f"Expected '{name}' to be importable (got {error}). "
                         f'Install matching versions of torch and torchvision '
                         f'from the same index.') from error


def from_hub(load: Callable[..., Any], name: str,
             revision: str | None) -> Any:
    r"""Loads a model, and downloads it only if it is not on this machine.

    Args:
        load (callable): A function that loads a model by its name and takes
            the keywords of :obj:`transformers`.
        name (str): The name or folder of the model.
        revision (str or None): The branch, tag or commit on the hub.

    Raises:
        DownloadError: If the model cannot be found or downloaded.
    """
    try:
        return load(name, revision=revision, local_files_only=True)
    except (OSError, ValueError) as error:
        if os.path.isdir(name):
            raise DownloadError(f'Expected a folder with a complete model '
                                f'(got {name!r}, which could not be loaded: '
                                f'{error})') from error
    try:
        return load(name, revision=revision, local_files_only=False)
    except (OSError, ValueError) as error:
        raise DownloadError(no_weights(name, error)) from error


def load_pair(
    model: Any,
    part: Any,
    part_class: str,
    revision: str | None,
) -> tuple[Any, Any]:
    r"""Loads a model of :obj:`transformers` with the tokenizer or processor
    of its training.

    Args:
        model (str or transformers.PreTrainedModel): The name or folder of a
            pre-trained model, or a model.
        part (Any): The tokenizer or processor. If set to :obj:`None`, it is
            loaded.
        part_class (str): The class that loads it, such as
            :obj:`"AutoTokenizer"`.
        revision (str or None): The branch, tag or commit on the hub.

    Raises:
        DownloadError: If the model cannot be found or downloaded.
    """
    if not isinstance(model, str):
        return model, part
    library = load_library('transformers')
    part = part or from_hub(getattr(library, part_class).from_pretrained,
                            model, revision)
    return from_hub(library.AutoModel.from_pretrained, model, revision), part


def no_weights(name: str, error: Exception) -> str:
    r"""Returns the message for a model that was not found."""
    return (f'Expected {name!r} to be a folder, or a model that is cached or '
            f'can be downloaded (got {error}). Without network access, pass '
            f'the folder of a copy of the model, or use the encoders '
            f"'descriptor' and 'hashing', which need no weights.")


def describe_weights(model: torch.nn.Module) -> dict[str, Any]:
    r"""Returns values that identify the weights of a model.

    Args:
        model (torch.nn.Module): The model.

    Returns:
        The SHA-256 of the weights and, for a model from a hub, its revision.
    """
    state = {key: value.detach().cpu().contiguous()
             for key, value in model.state_dict().items()}
    configs = [getattr(module, 'config', None) for module in model.modules()]
    commits = [getattr(config, '_commit_hash', None) for config in configs]
    return {'revision': next(filter(None, commits), None),
            'weights_sha256': digest(state, '')}


def model_name(library: str, model: Any) -> str:
    r"""Returns a name for a model that does not depend on its folder.

    Args:
        library (str): The library of the model.
        model (str or torch.nn.Module): The model, its name or its folder.
    """
    if not isinstance(model, str):
        return f'{library}:{type(model).__name__}'
    return f'{library}:{Path(model).name if os.path.isdir(model) else model}'
