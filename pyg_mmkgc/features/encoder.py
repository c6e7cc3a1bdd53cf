r"""The interface of encoders, which map images or texts to vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, Union, runtime_checkable

from torch import Tensor

from pyg_mmkgc.errors import DataError
from pyg_mmkgc.features.items import Item


@runtime_checkable
class Encoder(Protocol):
    r"""The interface that :func:`~pyg_mmkgc.features.extract` expects of an
    encoder.

    An encoder works in two steps, so that a batch can be prepared while the
    previous batch is encoded. The encoder chooses its own device.
    """
    @property
    def kind(self) -> str:
        r"""The kind of inputs, :obj:`"image"` or :obj:`"text"`."""

    @property
    def prepare(self) -> Callable[[Any], Any]:
        r"""A function that prepares one RGB image of Pillow or one text. It
        runs in worker processes, so it should be small and picklable.
        """

    def encode(self, batch: Any) -> Tensor:
        r"""Encodes a batch.

        Args:
            batch (torch.Tensor or list): The outputs of :obj:`prepare`,
                stacked to a tensor with shape :obj:`[batch_size, *]` if they
                are tensors of one shape and type, otherwise a list.

        Returns:
            A float tensor with shape :obj:`[batch_size, num_channels]` on
            any device. A row must not depend on other rows.
        """

    def describe(self) -> dict[str, Any]:
        r"""Returns everything that determines the output as plain values,
        ready for JSON: name, revision, hash of the weights, preprocessing.
        """


#: A function that maps a list of RGB images or texts to a float tensor with
#: shape :obj:`[batch_size, num_channels]`.
Function = Callable[[list[Any]], Tensor]


class FunctionEncoder:
    r"""Wraps a function as an encoder.

    Args:
        function (callable): A function that maps a list of RGB images of
            Pillow, or a list of texts, to a float tensor with shape
            :obj:`[batch_size, num_channels]`.
        kind (str): The kind of inputs, :obj:`"image"` or :obj:`"text"`.
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
    r"""Returns an encoder for items, given an encoder or a function.

    Args:
        encoder (Encoder or callable): An encoder, or any function of a list
            of images or texts. For a function, files are read as images.
        items (list[Item]): The items.

    Raises:
        DataError: If :obj:`encoder` is not an encoder, or does not support the
            items.
    """
    texts = sum(isinstance(item.content, str) for item in items)
    if not isinstance(encoder, Encoder):
        if not callable(encoder):
            raise DataError(f'Expected an encoder or a function (got '
                            f'{type(encoder).__name__})')
        encoder = FunctionEncoder(encoder, 'text' if texts > 0 else 'image')
    if encoder.kind not in ('image', 'text'):
        raise DataError(f"Expected an encoder of kind 'image' or 'text' (got "
                        f'{encoder.kind!r})')
    if encoder.kind == 'image' and texts > 0:
        raise DataError(f'Expected files of images (got {texts} texts)')
    return encoder


def _same(raw: Any) -> Any:
    return raw
