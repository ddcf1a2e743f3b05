"""How long the starter policy takes on this machine, and how well it has learned its world.

    python benchmarks/starter_policy.py [--seconds 120] [--keep FOLDER]

Runs the engine as the demo does, in a folder of its own, and prints seconds, tokens per second and the held-out loss.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, help="The spec's `seconds`; its own default when left out.")
    parser.add_argument("--keep", type=Path, help="Leave the run folder here.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary) / "run"
        spec = Path(temporary) / "spec.json"
        config = {} if options.seconds is None else {"seconds": options.seconds}
        spec.write_text(json.dumps({"task": "starter", "config": config}))
        start = time.perf_counter()
        command = [sys.executable, "-m", "training.engine", "run", str(spec), "--out", str(folder)]
        subprocess.run(command, cwd=ROOT, check=True, stderr=subprocess.DEVNULL)
        wall = time.perf_counter() - start
        result = json.loads((folder / "result.json").read_text())
    figures = {
        "cores": os.cpu_count(),
        "wall_seconds": round(wall, 1),
        "train_seconds": round(result["train_seconds"], 1),
        "steps": result["steps"],
        "tokens_per_second": round(result["tokens"] / result["train_seconds"]),
        "held_out_loss_per_token": round(result["eval"]["test"]["loss"], 3),
        "peak_memory_mib": result["peak_memory_bytes"] >> 20,
    }
    print(json.dumps(figures, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
