r"""Encoders by name."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Union

import torch

from pyg_mmkgc.errors import DataError
from pyg_mmkgc.features.descriptor import DescriptorEncoder, HashingEncoder
from pyg_mmkgc.features.encoder import Encoder
from pyg_mmkgc.features.textual import (
    BERTEncoder,
    SentenceEncoder,
    WordPieceEncoder,
)
from pyg_mmkgc.features.visual import TimmEncoder, TransformersEncoder

#: Short names of the encoders in the AdaMF-MAT paper and of more recent
#: encoders.
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
    'word-pieces': WordPieceEncoder,
}


def make_encoder(
    name: str,
    revision: str | None = None,
    device: Union[str, torch.device] = 'cpu',
) -> Encoder:
    r"""Creates an encoder by name.

    Args:
        name (str): A short name (:obj:`"vgg16"`, :obj:`"beit"`, :obj:`"clip"`,
            :obj:`"siglip"`, :obj:`"dinov2"`, :obj:`"bert"`,
            :obj:`"sentence-bert"`, or, without weights, :obj:`"descriptor"`
            for images and :obj:`"hashing"` for texts). Alternatively, a prefix
            followed by the name or folder of a model: :obj:`"timm:..."` or
            :obj:`"transformers:..."` (images), :obj:`"bert:..."` (texts, first
            token), :obj:`"sentence-transformers:..."` (texts) or
            :obj:`"word-pieces:..."` (texts, embeddings of word pieces).
        revision (str, optional): The branch, tag or commit of the model on
            the hub. For :obj:`timm`, append it to the name of the model
            after an :obj:`@` instead. (default: :obj:`None`)
        device (torch.device or str, optional): The device.
            (default: :obj:`"cpu"`)

    Raises:
        DataError: If there is no such encoder, or :obj:`revision` does not
            apply to it.
        DownloadError: If the weights are not on this machine and cannot be
            downloaded.
    """
    if name in _OFFLINE:
        if revision is not None:
            raise DataError(f"Expected no 'revision' for '{name}', which has "
                            f'no weights (got {revision!r})')
        return _OFFLINE[name]()
    library, _, model = ENCODERS.get(name, name).partition(':')
    if library not in _CLASSES or model == '':
        names = [*ENCODERS, *_OFFLINE]
        close = difflib.get_close_matches(name, names, 1, 0.5)
        hint = f". Did you mean '{close[0]}'?" if close else ''
        raise DataError(f"Expected an encoder of {', '.join(names)} or a name "
                        f"that begins with {', '.join(_CLASSES)} and a colon "
                        f'(got {name!r}){hint}')
    if revision is not None:
        if library == 'timm':
            raise DataError(f"Expected the revision of a timm model as part "
                            f"of its name, 'timm:hf-hub:user/model@revision' "
                            f"(got 'revision' {revision!r})")
        return _CLASSES[library](model, revision=revision, device=device)
    return _CLASSES[library](model, device=device)
