"""progress.jsonl: one line per step, readable while it grows, and cut back to the checkpoint when a run resumes.

Line: {"time": iso, "step": int, "steps": int, "fraction": 0..1, "message": str, "metrics": {name: float}}.
Standard library only.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from training.engine.console import Bar
from training.engine.files import write_atomic


class Progress:
    """Appends to progress.jsonl and, with `echo`, shows on standard error how far the run is."""

    def __init__(self, path: Path, *, echo: bool = True) -> None:
        self.path = path
        self._bar = Bar() if echo else None

    def report(
        self, *, step: int, steps: int, fraction: float, message: str, metrics: Mapping[str, float] | None = None
    ) -> None:
        """Add one line. Metrics that are not finite are left out: JSON has no word for them."""
        finite = {name: value for name, value in (metrics or {}).items() if math.isfinite(value)}
        line = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "step": step,
            "steps": steps,
            "fraction": round(min(max(fraction, 0.0), 1.0), 4),
            "message": message,
            "metrics": finite,
        }
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line, ensure_ascii=False) + "\n")
        if self._bar:
            self._bar.show(message, fraction=fraction, metrics=finite)

    def rewind(self, step: int) -> None:
        """Forget the steps after `step`, which will be done again, and a last line torn by a crash."""
        if not self.path.exists():
            return
        kept = [json.dumps(line, ensure_ascii=False) for line in read_progress(self.path) if line["step"] <= step]
        write_atomic(self.path, "".join(line + "\n" for line in kept).encode())


def read_progress(path: Path) -> Iterator[dict[str, Any]]:
    """The complete lines of a progress file; a torn one (the process was killed while writing) is passed over."""
    with path.open(encoding="utf-8", errors="replace") as stream:
        for text in stream:
            try:
                line = json.loads(text)
            except json.JSONDecodeError:
                continue
            if isinstance(line, dict) and isinstance(line.get("step"), int):
                yield line
