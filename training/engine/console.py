"""What a person sees of a run on standard error: sentences, and how far it is. Standard library only.

On a terminal one line is written over again and again; in a log a line is added now and then.
"""

from __future__ import annotations

import re
import shutil
import sys
import time
from collections.abc import Mapping

# Of a step's metrics those that are read at a glance; progress.jsonl has all of them.
FIGURES = {
    "loss": "loss {:.4f}",
    "accuracy": "accuracy {:.2f}",
    "kl": "KL {:.2g}",
    "tokens_per_second": "{:,.0f} tokens/s",
}
TERMINAL_SECONDS, LOG_SECONDS = 0.2, 10.0
ERASE = "\r\x1b[K"


def say(sentence: str) -> None:
    """Write a line of its own, in place of what the bar shows just now."""
    sys.stderr.write((ERASE if sys.stderr.isatty() else "") + sentence + "\n")
    sys.stderr.flush()


class Bar:
    """How far a run is; says so not more often than one can read, but at once where something else begins."""

    def __init__(self) -> None:
        self._began: tuple[float, float] | None = None
        self._shown = ""
        self._at = 0.0

    def show(self, message: str, *, fraction: float, metrics: Mapping[str, float]) -> None:
        """``fraction`` of the whole run is done; ``metrics`` are a step's, or empty outside of the steps."""
        now = time.monotonic()
        terminal = sys.stderr.isatty()
        kind = re.sub(r"\d+", "", message)
        if kind == self._shown and now - self._at < (TERMINAL_SECONDS if terminal else LOG_SECONDS):
            return
        self._shown, self._at = kind, now
        parts = [message]
        if metrics:
            self._began = self._began or (now, fraction)
            parts.append(remaining(now - self._began[0], begun=self._began[1], done=fraction))
        parts += [form.format(metrics[name]) for name, form in FIGURES.items() if name in metrics]
        line = "  ".join(filter(None, parts))
        if terminal:
            # A line that wraps could not be written over.
            sys.stderr.write(ERASE + line[: shutil.get_terminal_size().columns - 1])
            sys.stderr.flush()
        else:
            say(line)


def remaining(seconds: float, *, begun: float, done: float) -> str:
    """How long the rest takes, when it took so many seconds from the share ``begun`` of the run to the share ``done``;
    empty while nobody knows."""
    if done <= begun:
        return ""
    left = round(seconds * (1 - done) / (done - begun))
    hours, minutes = left // 3600, left % 3600 // 60
    return f"{hours} h {minutes} min left" if hours else f"{minutes} min {left % 60} s left"
