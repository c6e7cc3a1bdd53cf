"""Threads that share a model leave it as they found it."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from pyg_mmkgc.datasets import FakeMMKG
from pyg_mmkgc.evaluation import evaluate, predict
from pyg_mmkgc.evaluation.modes import evaluation_mode, full_precision
from pyg_mmkgc.nn import AdaMF


def modes(model):
    return [module.training for module in model.modules()]


@pytest.mark.parametrize('training', [True, False])
def test_threads_that_overlap(training):
    """The first thread to enter is not the last to leave."""
    model = torch.nn.Sequential(torch.nn.Dropout(), torch.nn.Linear(2, 2))
    model.train(training)
    model[1].train(not training)
    before = modes(model)
    first, second = evaluation_mode(model), evaluation_mode(model)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert not any(modes(model))
    second.__exit__(None, None, None)
    assert modes(model) == before


def test_models_that_share_a_module():
    shared = torch.nn.Dropout()
    one, two = torch.nn.Sequential(shared), torch.nn.Sequential(shared)
    with evaluation_mode(one):
        with evaluation_mode(two):
            pass
        assert not shared.training and two.training
    assert shared.training


def test_precision_that_overlaps():
    backend = torch.backends.mkldnn.matmul
    before = backend.fp32_precision
    backend.fp32_precision = 'bf16'
    first, second = full_precision(), full_precision()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert backend.fp32_precision == 'ieee'
    second.__exit__(None, None, None)
    assert backend.fp32_precision == 'bf16'
    backend.fp32_precision = before


def test_an_exception_puts_it_back():
    model, backend = torch.nn.Linear(2, 2), torch.backends.mkldnn.matmul
    before = backend.fp32_precision
    try:
        backend.fp32_precision = 'bf16'
        with pytest.raises(KeyboardInterrupt), evaluation_mode(model), \
                full_precision():
            raise KeyboardInterrupt
        assert model.training and backend.fp32_precision == 'bf16'
    finally:
        backend.fp32_precision = before


class Slow(AdaMF):
    r"""Waits in the middle of a prediction until all others are there."""
    def encode(self, *args, **kwargs):
        self.modes.append(self.training)
        self.together.wait(30)
        return super().encode(*args, **kwargs)


def test_eight_threads_predict():
    kg = FakeMMKG(num_nodes=20, num_edges=60)[0]
    model = Slow.from_data(kg, 4)
    model.together, model.modes = threading.Barrier(1), []
    expected = predict(model, kg, 0, 0)
    for training in (True, False) * 5:
        model.train(training)
        model.together, model.modes = threading.Barrier(8), []
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda _: predict(model, kg, 0, 0),
                                  range(8)))
        assert modes(model) == [training] * len(modes(model))
        assert model.modes == [False] * 8
        for answer in found:
            assert torch.equal(answer.answer, expected.answer)
            assert torch.equal(answer.score, expected.score)
    model.together = threading.Barrier(1)
    model.train()
    evaluate(model, kg)
    assert all(modes(model))
