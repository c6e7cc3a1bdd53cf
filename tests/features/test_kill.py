"""Extraction that is killed at any line and resumed has the same bits."""

import os
import random
import shutil
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch

import pyg_mmkgc.features
from pyg_mmkgc.features import Item, extract, read_folder

from .tiny import CharacterEncoder, ConvEncoder, draw, texts

CODE = os.path.dirname(os.path.dirname(pyg_mmkgc.features.__file__))


class LineCounter:
    """Counts the executed lines of the library, and may end the process before
    one of them like an external kill.
    """
    def __init__(self, kill_at: int | None = None) -> None:
        self.kill_at = kill_at
        self.count = 0

    def __call__(self, frame: FrameType, event: str, arg: Any) -> Any:
        if not frame.f_code.co_filename.startswith(CODE):
            return None
        if event == 'line':
            self.count += 1
            if self.count == self.kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
        return self


def run(items: list[Item], encoder: Any, folder: Path, pool: str,
        counter: LineCounter) -> None:
    sys.settrace(counter)
    try:
        extract(items, encoder, folder, pool=pool, batch_size=4,
                num_workers=0, progress=False)
    finally:
        sys.settrace(None)


def run_in_child(*args: Any) -> bool:
    """Returns whether a process with this run finished."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            torch.set_num_threads(1)  # Other threads do not survive a fork.
            run(*args)
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return False
    assert os.WEXITSTATUS(status) == 0
    return True


def content(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir()}


@pytest.mark.parametrize('pool', ['mean', 'all'])
@pytest.mark.parametrize('kind', ['image', 'text'])
def test_killed_20_times(tmp_path: Path, kind: str, pool: str) -> None:
    encoder: Any = CharacterEncoder()
    if kind == 'image':
        pytest.importorskip('PIL')
        encoder = ConvEncoder()
        draw(tmp_path / 'images', {f'e{i}': 1 + i % 4 for i in range(14)})
        (tmp_path / 'images/e3/bad.png').write_text('no image')
        items = read_folder(tmp_path / 'images')
    else:
        items = texts(*[(f'e{i % 9}', 'abc' * i if i % 5 else ' ')
                        for i in range(40)])
    counter = LineCounter()
    run(items, encoder, tmp_path / 'at_once', pool, counter)
    expected = content(tmp_path / 'at_once')

    generator = random.Random(f'{kind} {pool}')
    folder, kills = tmp_path / 'out', 0
    while kills < 20:
        kill_at = generator.randrange(1, counter.count)
        if not run_in_child(items, encoder, folder, pool,
                            LineCounter(kill_at)):
            kills += 1
        elif content(folder) == expected:
            shutil.rmtree(folder)
        else:
            pytest.fail('a resumed run has another result')
    run(items, encoder, folder, pool, LineCounter())
    assert content(folder) == expected
