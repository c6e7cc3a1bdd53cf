r"""Handling of signals that end a process between two steps."""
from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Optional

from pyg_mmkgc.errors import Terminated

#: The signals of a cluster, a closed terminal or a shutdown before SIGKILL.
SIGNALS = ('SIGTERM', 'SIGHUP')


class Signals:
    r"""The signals that :func:`catch_signals` received.

    Args:
        immediate (bool): If :obj:`True`, a signal ends the work immediately
            instead of at the next call of :meth:`check`.
    """
    def __init__(self, immediate: bool) -> None:
        self.immediate = immediate
        self.received: Optional[int] = None

    def check(self) -> None:
        r"""Raises :class:`~pyg_mmkgc.errors.Terminated` after a signal."""
        if self.received is not None:
            raise Terminated(self.received)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        r"""Context manager in which a signal ends the work immediately, for
        work that leaves no state behind.
        """
        self.check()
        before, self.immediate = self.immediate, True
        try:
            yield
        finally:
            self.immediate = before


@contextmanager
def catch_signals(immediate: bool = False) -> Iterator[Signals]:
    r"""Context manager in which SIGTERM and SIGHUP raise
    :class:`~pyg_mmkgc.errors.Terminated`. A second signal raises it
    immediately.

    Has no effect outside of the main thread, or on signals that are ignored,
    *e.g.*, under :obj:`nohup`.

    Args:
        immediate (bool, optional): If set to :obj:`True`, a signal ends the
            work immediately instead of at the next call of
            :meth:`Signals.check`. (default: :obj:`False`)
    """
    signals, owner = Signals(immediate), os.getpid()
    before: dict[int, Any] = {}

    def handle(number: int, frame: Any) -> None:
        if os.getpid() != owner:  # Workers have no step to finish.
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        again = signals.received is not None
        signals.received = number
        if again or signals.immediate:
            raise Terminated(number)

    if threading.current_thread() is threading.main_thread():
        for name in SIGNALS:
            number = getattr(signal, name, None)  # Windows has no SIGHUP.
            if number is not None and signal.getsignal(number) not in (
                    signal.SIG_IGN, None):
                before[number] = signal.signal(number, handle)
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
