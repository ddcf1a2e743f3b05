"""What a process says of its memory."""

import resource
from pathlib import Path


class Memory:
    """The largest resident size since this was made, and what was resident then. Linux only."""

    def __init__(self) -> None:
        # 5 resets the high-water mark (proc(5)), so that imports and loading do not hide what the loop takes.
        Path("/proc/self/clear_refs").write_text("5")
        self._before = _status("VmRSS")

    def figures(self) -> dict[str, int]:
        """Bytes: `peak_bytes` of the whole process, `loop_bytes` above what stood here at the beginning."""
        return {
            "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            "loop_bytes": _status("VmHWM") - self._before,
        }


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(f"{name}:"))) * 1024
