"""The message while numba compiles."""

import subprocess
import sys

import pytest

from pyg_mmkgc.kernels import compiling

numba = pytest.importorskip('numba')

SCRIPT = """
import importlib.util
import sys
from pathlib import Path
from pyg_mmkgc.kernels.compiling import show_compilation
show_compilation()
show_compilation()
def load(name):
    path = Path(sys.argv[1], name.rpartition('.')[2] + '.py')
    spec = importlib.util.spec_from_file_location(name, path)
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

loops, other = load('pyg_mmkgc.kernels.loops'), load('other')
other.loop(1)
sys.stderr.write('before\\n')
loops.outer(1)
sys.stderr.write('between\\n')
loops.outer(1)
loops.outer(1.0)
"""
LOOPS = """
import numba

@numba.njit(cache=True)
def inner(x):
    return x + 1

@numba.njit(cache=True)
def outer(x):
    return inner(x)
"""


def test_one_line_when_loops_are_compiled(tmp_path):
    """Not for functions of the user, and not for loops from the cache."""
    (tmp_path / 'loops.py').write_text(LOOPS)
    (tmp_path / 'other.py').write_text(
        'import numba\n@numba.njit\ndef loop(x):\n    return x\n')

    def run():
        done = subprocess.run(
            [sys.executable, '-c', SCRIPT, tmp_path], capture_output=True,
            text=True, timeout=300, check=True)
        return done.stderr.splitlines()

    assert run() == ['before', compiling.MESSAGE, 'between']
    assert run() == ['before', 'between']


def test_the_bar_counts_outer_loops(monkeypatch, capsys):
    shown = []

    class Bar:
        write = staticmethod(lambda text, file: print(text, file=file))

        def __init__(self, initial, **kwargs):
            self.n = initial

        def update(self):
            self.n += 1

        def close(self):
            shown.append(self.n)

    monkeypatch.setattr(compiling, 'tqdm', Bar)
    progress = compiling.Progress()
    for call in ('start', 'start', 'end', 'end', 'start', 'end'):
        getattr(progress, call)()
    assert shown == [1, 2]
    assert capsys.readouterr().err == f'{compiling.MESSAGE}\n'
