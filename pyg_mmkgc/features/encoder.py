r"""What turns images or texts into vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, Union, runtime_checkable

from torch import Tensor

from pyg_mmkgc.errors import DataError
from pyg_mmkgc.features.items import Item


@runtime_checkable
class Encoder(Protocol):
    r"""What :func:`~pyg_mmkgc.features.extract` asks of an encoder.

    An encoder has two halves, so that preparing a batch and encoding the one
    before overlap. The device, if any, is the encoder's own.
    """
    @property
    def kind(self) -> str:
        r"""Returns what is encoded: :obj:`'image'` or :obj:`'text'`."""

    @property
    def prepare(self) -> Callable[[Any], Any]:
        r"""Returns a function of one RGB image of Pillow or one text. It
        runs in worker processes, so it should be light and picklable.
        """

    def encode(self, batch: Any) -> Tensor:
        r"""Encodes a batch.

        Args:
            batch (torch.Tensor or list): What :obj:`prepare` returned: one
                tensor with shape :obj:`[batch_size, *]` where these are
                tensors of one shape and type, else a list.

        Returns:
            A float tensor with shape :obj:`[batch_size, num_channels]`, on
            any device. A row must not depend on its neighbours.
        """

    def describe(self) -> dict[str, Any]:
        r"""Returns what JSON can hold and what decides the output: name,
        revision, hash of the weights, preprocessing.
        """


#: A function of a list of RGB images or texts, which returns a float tensor
#: with shape :obj:`[batch_size, num_channels]`.
Function = Callable[[list[Any]], Tensor]


class FunctionEncoder:
    r"""Makes any function an encoder.

    Args:
        function (callable): A function of a list of RGB images of Pillow, or
            of a list of texts, that returns a float tensor with shape
            :obj:`[batch_size, num_channels]`.
        kind (str): What it takes, :obj:`'image'` or :obj:`'text'`.
    """
    def __init__(self, function: Function, kind: str) -> None:
        self.function = function
        self.kind = kind
        self.prepare = _same

    def encode(self, batch: list[Any]) -> Tensor:
        return self.function(batch)

    def describe(self) -> dict[str, Any]:
        function = self.function
        name = getattr(function, '__qualname__', type(function).__qualname__)
        return {'name': f'{function.__module__}.{name}'}


def as_encoder(encoder: Union[Encoder, Function],
               items: Sequence[Item]) -> Encoder:
    r"""Returns an encoder for some items.

    Args:
        encoder (Encoder or callable): An encoder, or any function of a list
            of images or texts. Files are images to the latter.
        items (list of Item): The items.

    Raises:
        DataError: If it is no encoder, or none for these items.
    """
    texts = sum(isinstance(item.content, str) for item in items)
    if not isinstance(encoder, Encoder):
        if not callable(encoder):
            raise DataError(f'expected an encoder or a function, got '
                            f'{type(encoder).__name__}')
        encoder = FunctionEncoder(encoder, 'text' if texts > 0 else 'image')
    if encoder.kind not in ('image', 'text'):
        raise DataError(f"expected an encoder of kind 'image' or 'text', got "
                        f'{encoder.kind!r}')
    if encoder.kind == 'image' and texts > 0:
        raise DataError(f'expected files of images, got {texts} texts')
    return encoder


def _same(raw: Any) -> Any:
    return raw
