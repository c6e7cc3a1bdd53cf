r"""A message while numba compiles, which takes seconds to minutes."""
from __future__ import annotations

import functools
import sys
from typing import Any, Optional

from tqdm import tqdm

MESSAGE = 'Compiling kernels, once per installation: about 20 s'


class Progress:
    r"""Writes a line to the standard error when a process compiles its first
    loop of this package, and shows a progress bar over the loops on a
    terminal. Loops from numba's cache are not compiled.
    """
    def __init__(self) -> None:
        self.depth, self.done = 0, 0
        self.bar: Optional[tqdm] = None

    def start(self) -> None:
        r"""Called when the compilation of a loop, or of a loop within it,
        begins.
        """
        if self.depth == 0:
            if self.done == 0:
                tqdm.write(MESSAGE, file=sys.stderr)
            # The number of loops depends on what the model calls.
            self.bar = tqdm(
                desc='Compiling kernels', initial=self.done, disable=None,
                leave=False, file=sys.stderr,
                bar_format='{desc}: number {n} for {elapsed}')
            self.bar.update()
        self.depth += 1

    def end(self) -> None:
        r"""Called when the loop is compiled."""
        self.depth -= 1
        if self.depth == 0:
            self.done += 1
            if self.bar is not None:
                self.bar.close()


@functools.lru_cache(maxsize=1)
def show_compilation() -> None:
    r"""Shows a :class:`Progress` for all further compilations. Requires
    :obj:`numba`.
    """
    from numba.core import event

    progress = Progress()

    class Listener(event.Listener):
        def on_start(self, happened: Any) -> None:
            if _is_ours(happened):
                progress.start()

        def on_end(self, happened: Any) -> None:
            if _is_ours(happened):
                progress.end()

    event.register('numba:compile', Listener())


def _is_ours(happened: Any) -> bool:
    # Users compile functions of their own.
    function = happened.data['dispatcher'].py_func
    return function.__module__.startswith('pyg_mmkgc.')
