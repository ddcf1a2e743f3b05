"""The wish to stop: SIGTERM and Ctrl-C set a flag, and the work looks at it where it can stop cleanly."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from training.engine.errors import Cancelled


class Stop:
    """A flag that long work asks between its steps."""

    def __init__(self) -> None:
        self.requested = False

    def check(self) -> None:
        """Raise Cancelled once a stop was asked for."""
        if self.requested:
            raise Cancelled("The run was asked to stop.")

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Within, SIGTERM and SIGINT set the flag; a second one of the same kind ends the process as usual.

        Python gives signals to its main thread only: in another one nothing is changed.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        signal.signal(number, signal.SIG_DFL)
