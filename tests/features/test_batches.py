import copy
from typing import Any

import pytest
import torch

from pyg_mmkgc.errors import DataError
from pyg_mmkgc.features import FunctionEncoder
from pyg_mmkgc.features.batches import encode, load_batches

from .tiny import CharacterEncoder, texts


class Limited:
    """An encoder with memory for a given number of items."""
    kind = 'text'
    prepare = str

    def __init__(self, limit: int, error: Exception) -> None:
        self.limit, self.error = limit, error
        self.sizes: list[int] = []

    def encode(self, batch: Any) -> torch.Tensor:
        self.sizes.append(len(batch))
        if len(batch) > self.limit:
            raise copy.copy(self.error)
        return torch.tensor([[float(value)] for value in batch])

    def describe(self) -> dict[str, Any]:
        return {}


OUT_OF_MEMORY = [
    torch.OutOfMemoryError('CUDA out of memory'), MemoryError(),
    RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried")]


@pytest.mark.parametrize('error', OUT_OF_MEMORY, ids=lambda e: str(type(e)))
@pytest.mark.parametrize('as_tensor', [False, True])
def test_batches_are_halved_until_they_fit(error: Exception,
                                           as_tensor: bool) -> None:
    encoder = Limited(3, error)
    values: Any = torch.arange(13) if as_tensor else list(range(13))
    x, size = encode(encoder, values, 32)
    assert x.view(-1).tolist() == list(range(13))
    assert size == 2
    assert encoder.sizes == [13, 7, 4, 2, 2, 2, 2, 2, 2, 1]
    # The next batch starts with the size that fitted before.
    encoder.sizes.clear()
    assert encode(encoder, values, size)[1] == 2
    assert encoder.sizes == [2, 2, 2, 2, 2, 2, 1]


def test_other_errors_and_one_item_that_does_not_fit() -> None:
    with pytest.raises(RuntimeError, match='shapes'):
        encode(Limited(3, RuntimeError('shapes')), [1, 2, 3, 4], 4)
    encoder = Limited(0, OUT_OF_MEMORY[0])
    with pytest.raises(torch.OutOfMemoryError):
        encode(encoder, [1, 2, 3, 4], 4)
    assert encoder.sizes == [4, 2, 1]


@pytest.mark.parametrize('out, got', [
    (None, 'NoneType'), (torch.ones(2), r'of shape \[2\]'),
    (torch.ones(3, 2), r'of shape \[3, 2\]'), (torch.ones(2, 0), r'\[2, 0\]'),
    (torch.ones(2, 2, dtype=torch.long), 'int64')])
def test_what_an_encoder_must_return(out: Any, got: str) -> None:
    encoder = FunctionEncoder(lambda batch: out, 'text')
    with pytest.raises(DataError, match=got):
        encode(encoder, ['a', 'b'], 2)


def test_gradients_and_types_are_left_behind() -> None:
    weight = torch.ones(2, 3, dtype=torch.double, requires_grad=True)
    encoder = FunctionEncoder(lambda batch: weight * 2, 'text')
    x, _ = encode(encoder, ['a', 'b'], 2)
    assert x.dtype == torch.float
    assert not x.requires_grad


@pytest.mark.parametrize('num_workers', [0, 2])
def test_batches(num_workers: int) -> None:
    items = texts(*[('e', text) for text in ['A', ' ', 'Bb', 'cc', '\udcff']])
    state = torch.random.get_rng_state()
    batches = list(load_batches(items, CharacterEncoder(), 1, 3, num_workers))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert [batch.values for batch in batches] == [['bb', 'cc'], []]
    assert [batch.reasons for batch in batches] == [
        ['Expected a text that is not blank (got a blank text)', '', ''],
        ['Expected text in UTF-8 (got invalid bytes)']]
    assert [[len(d) for d in batch.digests] for batch in batches] == [
        [32, 32, 32], [0]]


def test_tensors_are_stacked_where_they_fit() -> None:
    def prepare(text: str) -> torch.Tensor:
        dtype = torch.float if 'q' in text else torch.long
        return torch.tensor([ord(c) for c in text], dtype=dtype)

    encoder = FunctionEncoder(len, 'text')
    encoder.prepare = prepare
    items = texts(*[('e', text) for text in ('ab', 'cd', 'xyz', 'z', 'q',
                                             'a')])
    fit, shapes, types = load_batches(items, encoder, 0, 2, 0)
    assert torch.equal(fit.values, torch.tensor([[97, 98], [99, 100]]))
    for batch in (shapes, types):
        assert isinstance(batch.values, list)
    assert [len(value) for value in shapes.values] == [3, 1]


def test_what_cannot_be_prepared_is_a_reason() -> None:
    def prepare(text: str) -> float:
        return 1 / len(text.strip('x'))

    encoder = FunctionEncoder(len, 'text')
    encoder.prepare = prepare
    batch, = load_batches(texts(('e', 'xx'), ('e', 'a')), encoder, 0, 2, 0)
    assert batch.values == [1.]
    assert batch.reasons[0].startswith('not prepared: ZeroDivisionError')
