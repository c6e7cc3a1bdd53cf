r"""Batches of items, prepared by worker processes and then encoded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Union

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pyg_mmkgc.errors import DataError, is_out_of_memory
from pyg_mmkgc.features.encoder import Encoder
from pyg_mmkgc.features.items import Item
from pyg_mmkgc.features.reading import Sample, read_item, reason


class Batch(NamedTuple):
    r"""A batch of items.

    Args:
        values (torch.Tensor or list): The prepared inputs of usable items.
        digests (list[str]): A hash of the bytes of each item.
        reasons (list[str]): The reason why each item is unusable, empty
            for usable items.
    """
    values: Union[Tensor, list[Any]]
    digests: list[str]
    reasons: list[str]


class _Samples(Dataset[Sample]):
    # Sent to the workers, so it only holds the parts of the encoder that they
    # need.
    def __init__(self, items: Sequence[Item], kind: str,
                 prepare: Callable[[Any], Any]) -> None:
        self.items = items
        self.kind = kind
        self.prepare = prepare

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Sample:
        sample = read_item(self.items[index], self.kind)
        if sample.reason != '':
            return sample
        try:
            return sample._replace(value=self.prepare(sample.value))
        except Exception as error:
            return Sample(None, sample.digest,
                          f'not prepared: {reason(error)}')


def load_batches(items: Sequence[Item], encoder: Encoder, first: int,
                 batch_size: int, num_workers: int) -> Iterable[Batch]:
    r"""Yields batches of items, prefetched by worker processes.

    Args:
        items (list[Item]): The items.
        encoder (Encoder): The encoder that prepares the items.
        first (int): The position of the first item to yield.
        batch_size (int): The number of items per batch.
        num_workers (int): The number of worker processes.
    """
    device = torch.device(getattr(encoder, 'device', 'cpu'))
    return DataLoader(
        _Samples(items, encoder.kind, encoder.prepare),
        batch_size,
        sampler=range(first, len(items)),
        num_workers=num_workers,
        collate_fn=_collate,
        pin_memory=device.type == 'cuda',
        # Without it, the loader would draw from the global generator.
        generator=torch.Generator(),
    )


def encode(encoder: Encoder, values: Union[Tensor, list[Any]],
           size: int) -> tuple[Tensor, int]:
    r"""Encodes prepared inputs, in smaller pieces if memory runs out.

    Args:
        encoder (Encoder): The encoder.
        values (torch.Tensor or list): The prepared inputs.
        size (int): The number of inputs to encode at once.

    Returns:
        The vectors in single precision on the CPU, and the number of inputs
        that fit into memory.

    Raises:
        DataError: If the encoder does not return a float tensor with one row
            per input.
    """
    while True:
        try:
            parts = [_encode(encoder, values[i:i + size])
                     for i in range(0, len(values), size)]
            return torch.cat(parts), size
        except (RuntimeError, MemoryError) as error:
            if size == 1 or not is_out_of_memory(error):
                raise
        # Retry outside the block above: its exception keeps tensors alive.
        size = (min(size, len(values)) + 1) // 2


def _encode(encoder: Encoder, values: Union[Tensor, list[Any]]) -> Tensor:
    with torch.inference_mode():
        out = encoder.encode(values)
        if (not isinstance(out, Tensor) or out.dim() != 2
                or out.size(0) != len(values) or out.size(1) == 0
                or not out.is_floating_point()):
            got = (f'{out.dtype} of shape {list(out.shape)}' if isinstance(
                out, Tensor) else type(out).__name__)
            raise DataError(f'Expected the encoder to return a float tensor '
                            f'of shape [{len(values)}, num_channels] (got '
                            f'{got})')
        return out.to('cpu', torch.float)


def _collate(samples: list[Sample]) -> Batch:
    values: Any = [s.value for s in samples if s.reason == '']
    first = values[0] if values else None
    if isinstance(first, Tensor) and all(
            isinstance(value, Tensor) and value.shape == first.shape
            and value.dtype == first.dtype for value in values):
        values = torch.stack(values)
    return Batch(values, [s.digest for s in samples],
                 [s.reason for s in samples])
