"""Fixtures of the whole suite."""

import multiprocessing
import os
import random
import signal
from pathlib import Path

# Workers of pytest-xdist share the cores: one thread for each of them and of
# the processes that they start. Read when torch and numba are imported.
if 'PYTEST_XDIST_WORKER' in os.environ:
    os.environ |= {'OMP_NUM_THREADS': '1', 'NUMBA_NUM_THREADS': '1'}

import numpy as np
import pytest
import torch
import torch_geometric.typing

# Under nohup, this process would ignore SIGHUP, and so would all processes
# that the tests start.
signal.signal(signal.SIGHUP, signal.SIG_DFL)

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def seed() -> None:
    """Sets a seed, so that the order of tests has no effect."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 (code under test may use it)
    torch.manual_seed(0)


@pytest.fixture(scope='session')
def shared_data() -> Path:
    """Returns the folder of the real benchmarks next to the repository."""
    path = ROOT.parent / 'shared' / 'data'
    if not path.is_dir():
        pytest.skip('no real benchmarks next to the repository')
    return path


EXTENSIONS = ('WITH_PYG_LIB', 'WITH_TORCH_SCATTER', 'WITH_TORCH_SPARSE')


@pytest.fixture
def disable_extensions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Disables all extensions, as ``disableExtensions`` of PyG requires."""
    for name in EXTENSIONS:
        monkeypatch.setattr(torch_geometric.typing, name, False)


@pytest.fixture
def without_extensions(request: pytest.FixtureRequest) -> bool:
    """Runs with and without extensions, as ``withoutExtensions`` requires."""
    without = request.param == 'disable_extensions'
    if without:
        request.getfixturevalue('disable_extensions')
    return without


@pytest.fixture
def in_a_fork():
    """Runs a function in its own process and returns the sent value."""
    def run(function, *args):
        context = multiprocessing.get_context('fork')
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=function, args=(*args, sender))
        process.start()
        sender.close()
        try:
            return receiver.recv()
        finally:
            process.join()

    return run
