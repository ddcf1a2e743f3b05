"""The peak memory of a process is its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[4]

ASK = """
from types import SimpleNamespace
from training.engine.memory import peak_memory
print(peak_memory(SimpleNamespace(type="cpu")))
"""
FROM_A_LARGE_PROCESS = """
import subprocess, sys
ballast = b"1" * (256 << 20)
subprocess.run([sys.executable, "-c", sys.argv[1]], check=True)
"""


def test_what_the_starting_process_held_does_not_count():
    command = [sys.executable, "-c", FROM_A_LARGE_PROCESS, ASK]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert 4 << 20 < int(said) < 128 << 20
