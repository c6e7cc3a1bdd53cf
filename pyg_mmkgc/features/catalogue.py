r"""Encoders by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Union

import torch

from pyg_mmkgc.errors import DataError
from pyg_mmkgc.features.descriptor import DescriptorEncoder, HashingEncoder
from pyg_mmkgc.features.encoder import Encoder
from pyg_mmkgc.features.textual import BERTEncoder, SentenceEncoder
from pyg_mmkgc.features.visual import TimmEncoder, TransformersEncoder

#: Short names: the AdaMF-MAT paper's encoders, and more recent ones.
ENCODERS = {
    'vgg16': 'timm:vgg16.tv_in1k',
    'beit': 'transformers:microsoft/beit-base-patch16-224-pt22k-ft22k',
    'clip': 'transformers:openai/clip-vit-base-patch32',
    'siglip': 'transformers:google/siglip-base-patch16-224',
    'dinov2': 'transformers:facebook/dinov2-base',
    'bert': 'bert:google-bert/bert-base-uncased',
    'sentence-bert':
    'sentence-transformers:sentence-transformers/all-MiniLM-L6-v2',
}
_OFFLINE: dict[str, Callable[[], Encoder]] = {
    'descriptor': DescriptorEncoder,
    'hashing': HashingEncoder,
}
_CLASSES: dict[str, Callable[..., Encoder]] = {
    'timm': TimmEncoder,
    'transformers': TransformersEncoder,
    'bert': BERTEncoder,
    'sentence-transformers': SentenceEncoder,
}


def make_encoder(
    name: str,
    revision: str | None = None,
    device: Union[str, torch.device] = 'cpu',
) -> Encoder:
    r"""Makes an encoder by name.

    Args:
        name (str): A short name (:obj:`'vgg16'`, :obj:`'beit'`,
            :obj:`'clip'`, :obj:`'siglip'`, :obj:`'dinov2'`, :obj:`'bert'`,
            :obj:`'sentence-bert'`; without weights, :obj:`'descriptor'` of
            images and :obj:`'hashing'` of texts); or a library and its name
            of a model, or a folder: :obj:`'timm:...'`,
            :obj:`'transformers:...'` (images), :obj:`'bert:...'` (texts,
            first token) or :obj:`'sentence-transformers:...'`.
        revision (str, optional): The branch, tag or commit of the model on
            the hub; in the name of a model of :obj:`timm`, it follows an
            :obj:`@`. (default: :obj:`None`)
        device (torch.device or str, optional): The device.
            (default: :obj:`'cpu'`)

    Raises:
        DataError: If there is no such encoder.
        DownloadError: If the weights are not here and cannot be fetched.
    """
    if name in _OFFLINE:
        if revision is not None:
            raise DataError(f"'{name}' has no weights, and so no revision")
        return _OFFLINE[name]()
    library, _, model = ENCODERS.get(name, name).partition(':')
    if library not in _CLASSES or model == '':
        raise DataError(f'expected an encoder of {[*ENCODERS, *_OFFLINE]} '
                        f'or one that begins with '
                        f'{[f"{key}:" for key in _CLASSES]}, got {name!r}')
    if revision is not None:
        if library == 'timm':
            raise DataError("timm takes the revision in the name: "
                            "'timm:hf-hub:user/model@revision'")
        return _CLASSES[library](model, revision=revision, device=device)
    return _CLASSES[library](model, device=device)
