"""``.ci/machine`` imitates the machine of its arguments."""

import importlib.util
import os
import subprocess
import sys

import pytest
import torch

from pyg_mmkgc.training.step import multiplies_bfloat16

FACTS = """
import importlib.util
import torch
from pyg_mmkgc.training.step import multiplies_bfloat16
print(torch.backends.cpu.get_cpu_capability(),
      multiplies_bfloat16(torch.device('cpu')),
      importlib.util.find_spec('numba') is not None, torch.get_num_threads())
"""


def asked(name: str, value: str) -> None:
    if os.environ.get(name) != value:
        pytest.skip(f'{name} is not {value}')


def test_plain_hardware() -> None:
    asked('TEST_HARDWARE', 'plain')
    has = torch.cpu.get_capabilities()
    assert has['avx2'] and not has['avx512_f'] and not has['avx512_bf16']
    assert torch.backends.cpu.get_cpu_capability() == 'AVX2'
    assert not multiplies_bfloat16(torch.device('cpu'))


def test_generic_numba() -> None:
    asked('TEST_NUMBA', 'generic')
    config = pytest.importorskip('numba').config
    assert (config.CPU_NAME, config.CPU_FEATURES) == ('generic', '')


def test_absent_numba() -> None:
    asked('TEST_NUMBA', 'absent')
    assert importlib.util.find_spec('numba') is None
    with pytest.raises(ImportError):
        import numba  # noqa: F401


def test_threads() -> None:
    if 'TEST_THREADS' not in os.environ:
        pytest.skip('.ci/machine was not asked for a number of threads')
    wanted = (1 if 'PYTEST_XDIST_WORKER' in os.environ else
              int(os.environ['TEST_THREADS']))
    assert torch.get_num_threads() == wanted


def test_processes_are_on_the_same_machine() -> None:
    done = subprocess.run([sys.executable, '-c', FACTS], text=True,
                          capture_output=True, check=True)
    assert done.stdout.split() == [
        torch.backends.cpu.get_cpu_capability(),
        str(multiplies_bfloat16(torch.device('cpu'))),
        str(importlib.util.find_spec('numba') is not None),
        str(torch.get_num_threads())]
