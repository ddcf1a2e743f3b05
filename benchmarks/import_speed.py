"""How fast rows come in, and in how much memory.

    python benchmarks/import_speed.py [--rows 52245] [--items 10471] [--annotators 3651] [--file ROWS.jsonl]

Without a file it makes rows of the size of the UKPConvArg1 crowd annotations: judgements of pairs of arguments of about
70 words, by many workers. Uses a database of its own in a temporary folder (or DATABASE_URL, which must be empty), and
prints rows per second and the peak memory of the process, which imports in the foreground as a worker would.
"""

import argparse
import json
import os
import random
import resource
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WORDS = ["water", "bottle", "school", "people", "because", "argue", "should", "never", "paper", "plastic", "ban"]


def write_rows(path: Path, rows: int, items: int, annotators: int) -> None:
    draw = random.Random(0)
    pairs = [[" ".join(draw.choices(WORDS, k=70)) + f" {n}{side}" for side in "ab"] for n in range(items)]
    with path.open("w") as file:
        for n in range(rows):
            first, second = draw.sample(pairs[n % items], 2)
            annotator = f"w{n * 7919 % annotators:04}-{n // items}"
            row = {"prompt": f"Topic {n % 32}", "chosen": first, "rejected": second, "annotator": annotator}
            file.write(json.dumps(row) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=52_245)
    parser.add_argument("--items", type=int, default=10_471)
    parser.add_argument("--annotators", type=int, default=3_651)
    parser.add_argument("--file", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"PLUMB_DATA": folder, "DJANGO_SETTINGS_MODULE": "feedback_site.settings", "LOG_LEVEL": "WARNING"}
        sys.path.insert(0, str(ROOT))
        import django
        from django.core.management import call_command

        django.setup()
        call_command("migrate", verbosity=0)
        path = options.file or Path(folder) / "rows.jsonl"
        if not options.file:
            write_rows(path, options.rows, options.items, options.annotators)
        measure(path)


def measure(path: Path) -> None:
    from annotate.imports.run import counts, import_file
    from annotate.management.commands.import_items import Command, Foreground
    from annotate.models import Project
    from annotate.services.imports import keep_file
    from feedback_site.lib.files import chunks_of

    project = Project.objects.create(slug="speed", name="Speed", kind="pairwise")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for name, dry_run in [("dry run", True), ("import", False), ("the same again", False)]:
        began, cpu = time.perf_counter(), time.process_time()
        with path.open("rb") as file:
            found = keep_file(project=project, file_name=path.name, chunks=chunks_of(file), dry_run=dry_run)
        import_file(found, Foreground(Command()))
        seconds, busy = time.perf_counter() - began, time.process_time() - cpu
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(
            f"{name}: {found.rows / seconds:,.0f} rows/s ({found.rows:,} rows in {seconds:.1f} s, {busy:.1f} s of CPU),"
            f" peak memory {peak / 1024:,.0f} MiB (before: {before / 1024:,.0f}), {counts(found)}"
        )


if __name__ == "__main__":
    main()
