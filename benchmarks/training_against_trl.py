"""The engine against TRL: the same model, data, batches, precision and optimiser, one process at a time.

    make peers                                                  once: TRL in an environment of its own
    python benchmarks/training_against_trl.py                   everything below, 3 rounds, A B C A B C …
    python benchmarks/training_against_trl.py --parity          loss and gradient of the first step, method by method
    python benchmarks/training_against_trl.py --speed [--only dpo-long …] [--rounds 3] [--pairs 48]
    python benchmarks/training_against_trl.py --levers          what each part of the ratio is worth
    python benchmarks/training_against_trl.py --memory          peak memory at a vocabulary of 131,072

Seconds are those of the optimisation loop and of the reference pass, on both sides; imports, loading and reading the
data are not counted. TRL gets its best settings: gradient checkpointing off, reference log-probs computed before or
during training (both are shown), no logging, no saving, no worker processes. It trains on the steps that our plan made.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peers import cases, parity
from peers.running import PEERS, Workers, interleaved, median

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from training.engine.precision import has_bfloat16

LEARNING_RATE = 1e-5
LIST = 4
Variants = dict[str, tuple[str, dict[str, Any]]]


@dataclass(frozen=True)
class Bench:
    """What every part needs: where to write, how much to do, and the workers."""

    folder: Path
    workers: Workers
    pairs: int
    rounds: int
    only: set[str] | None

    def wanted(self, name: str) -> bool:
        return self.only is None or name in self.only


def job(bench: Bench, name: str, method: str, rows: Path, shape: cases.Shape = cases.SMALL, **config: Any) -> dict:
    """A run of the engine; TRL and the plain loop read the same one, and its plan."""
    return {
        "method": method,
        "model": str(cases.make_model(bench.folder / f"model-{shape.vocabulary}", shape, seed=0)),
        "rows": str(rows),
        "plan": str(bench.folder / f"{name}.plan.json"),
        "config": {"batch_size": 8, "learning_rate": LEARNING_RATE, **config},
    }


def peer(ours: dict[str, Any], trainer: str, *, profile: bool = False, **arguments: Any) -> tuple[str, dict[str, Any]]:
    """TRL's side of a job."""
    return "theirs", {**ours, "profile": profile, "trl": {"trainer": trainer, "arguments": arguments}}


def speed(bench: Bench) -> list[dict[str, Any]]:
    """Samples per second, method by method, and lists against their pairs."""
    found = []
    for name, make in CASES.items():
        if not bench.wanted(name):
            continue
        if name in BFLOAT16 and not has_bfloat16(torch.device("cpu")):
            found.append({"case": name, "missing": "this processor has no bfloat16 instructions"})
        else:
            print(name, file=sys.stderr, flush=True)
            samples, variants = make(bench, name)
            found.append(_timed(name, samples, interleaved(bench.workers, variants, bench.rounds)))
    return found


def _timed(name: str, samples: int, runs: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Medians of every variant, how much faster ours is than the best of the others, and whether the losses agree."""
    missing = {variant: results[0]["missing"] for variant, results in runs.items() if "missing" in results[0]}
    if missing:
        return {"case": name, "missing": missing}
    seconds = {variant: median(results, "seconds") for variant, results in runs.items()}
    mine, *others = seconds.values()
    losses = [results[0]["losses"] for results in runs.values()]
    return {
        "case": name,
        "samples": samples,
        "seconds": seconds,
        "runs": {variant: [result["seconds"] for result in results] for variant, results in runs.items()},
        "reference_seconds": {variant: median(results, "reference_seconds") for variant, results in runs.items()},
        "loop_mib": {variant: median(results, "loop_bytes") / 2**20 for variant, results in runs.items()},
        "peak_mib": {variant: median(results, "peak_bytes") / 2**20 for variant, results in runs.items()},
        "ratio": min(others) / mine,
        "loss_difference": max(
            abs(a - b) / max(abs(a), 1e-9) for other in losses[1:] for a, b in zip(losses[0], other, strict=False)
        ),
        "losses": dict(zip(runs, losses, strict=True)),
    }


def _dpo(lengths: cases.Lengths, dtype: str) -> Callable[[Bench, str], tuple[int, Variants]]:
    def make(bench: Bench, name: str) -> tuple[int, Variants]:
        rows = cases.write_rows(bench.folder / f"{name}.jsonl", cases.pair_rows(bench.pairs, cases.SMALL, lengths))
        ours = job(bench, name, "dpo", rows, dtype=dtype)
        return bench.pairs, {
            "ours": ("ours", ours),
            "TRL, reference in the loop": peer(ours, "dpo"),
            "TRL, reference before": peer(ours, "dpo", precompute_ref_log_probs=True),
        }

    return make


def _kto(bench: Bench, name: str) -> tuple[int, Variants]:
    count = 2 * bench.pairs
    rows = cases.write_rows(bench.folder / f"{name}.jsonl", cases.binary_rows(count, cases.SMALL, cases.LONG))
    ours = job(bench, name, "kto", rows, batch_size=16)
    return count, {
        "ours": ("ours", ours),
        "TRL, reference in the loop": peer(ours, "kto"),
        "TRL, reference before": peer(ours, "kto", precompute_ref_log_probs=True),
    }


def _reward(bench: Bench, name: str) -> tuple[int, Variants]:
    rows = cases.write_rows(bench.folder / f"{name}.jsonl", cases.pair_rows(bench.pairs, cases.SMALL, cases.LONG))
    ours = job(bench, name, "bradley_terry", rows)
    return bench.pairs, {"ours": ("ours", ours), "TRL": peer(ours, "reward", center_rewards_coefficient=0.01)}


def _lists(method: str, of_pairs: str) -> Callable[[Bench, str], tuple[int, Variants]]:
    """A listwise method against the method of pairs on all pairs of the same lists, as many comparisons a step."""

    def make(bench: Bench, name: str) -> tuple[int, Variants]:
        count, each = max(bench.pairs // 2, 8), LIST * (LIST - 1) // 2
        lists = list(cases.list_rows(count, cases.SMALL, cases.LONG, size=LIST))
        whole = cases.write_rows(bench.folder / f"{name}.jsonl", iter(lists))
        pairs = cases.write_rows(bench.folder / f"{name}-pairs.jsonl", cases.pairs_of_lists(iter(lists)))
        return count, {
            method: ("ours", job(bench, name, method, whole)),
            of_pairs: ("ours", job(bench, f"{name}-pairs", of_pairs, pairs, batch_size=8 * each)),
        }

    return make


BFLOAT16 = {"dpo-long-bf16"}
CASES: dict[str, Callable[[Bench, str], tuple[int, Variants]]] = {
    "dpo-long": _dpo(cases.LONG, "float32"),
    "dpo-long-bf16": _dpo(cases.LONG, "bfloat16"),
    "dpo-short": _dpo(cases.SHORT, "float32"),
    "kto": _kto,
    "reward": _reward,
    "lists-reward": _lists("all_pairs", "bradley_terry"),
    "lists-policy": _lists("plackett_luce", "dpo"),
}


def levers(bench: Bench) -> list[dict[str, Any]]:
    """The same DPO run with one lever after the other, from TRL to the engine's defaults and bfloat16."""
    rows = cases.write_rows(bench.folder / "levers.jsonl", cases.pair_rows(bench.pairs, cases.SMALL, cases.LONG))
    ours = job(bench, "levers", "dpo", rows)

    def engine(*, products: bool = False, **config: Any) -> tuple[str, dict[str, Any]]:
        return "ours", {**ours, "products": products, "config": ours["config"] | config}

    step, tree = 2 * 8 * 300, 180 + 2 * 120
    variants: Variants = {
        "+ a whole step to a pass": engine(layout="tree"),
        "TRL, reference in the loop": peer(ours, "dpo", profile=True),
        "TRL, reference before": peer(ours, "dpo", profile=True, precompute_ref_log_probs=True),
        "plain loop, reference in the loop": ("plain", {**ours, "reference_in_loop": True}),
        "plain loop, reference before": ("plain", {**ours, "reference_in_loop": False}),
        "engine: completions projected only, recomputed": engine(layout="padded", token_budget=step),
        "+ sorted by length, small passes": engine(layout="padded", token_budget=step // 4),
        "+ prompts shared, no padding, a tree to a pass": engine(layout="tree", token_budget=tree),
    }
    order = [*list(variants)[1:], next(iter(variants))]
    variants["+ products by oneDNN"] = engine(layout="tree", products=True)
    order.append("+ products by oneDNN")
    if has_bfloat16(torch.device("cpu")):
        variants["+ bfloat16"] = engine(layout="tree", products=True, dtype="bfloat16")
        order.append("+ bfloat16")
    runs = interleaved(bench.workers, variants, bench.rounds)
    first = median(runs[order[0]], "seconds")
    table = []
    for name in order:
        seconds = median(runs[name], "seconds")
        inside = [run.get("function_seconds") for run in runs[name]]
        share = None if inside[0] is None else sum(inside) / sum(run["seconds"] for run in runs[name])
        table.append({"lever": name, "seconds": seconds, "ratio": first / seconds, "share_of_log_prob_function": share})
    return table


def memory(bench: Bench) -> list[dict[str, Any]]:
    """Peak memory of DPO where almost everything is vocabulary; TRL with and without gradient checkpointing."""
    rows = cases.write_rows(bench.folder / "memory.jsonl", cases.pair_rows(8, cases.WIDE, cases.LONG))
    ours = job(bench, "memory", "dpo", rows, cases.WIDE)
    variants: Variants = {
        "ours": ("ours", ours),
        "TRL, reference in the loop": peer(ours, "dpo"),
        "TRL, reference before": peer(ours, "dpo", precompute_ref_log_probs=True),
        "TRL, reference before, gradient checkpointing": peer(
            ours, "dpo", precompute_ref_log_probs=True, gradient_checkpointing=True
        ),
    }
    runs = interleaved(bench.workers, variants, 1)
    return [
        {
            "variant": name,
            "peak_mib": results[0]["peak_bytes"] / 2**20,
            "loop_mib": results[0]["loop_bytes"] / 2**20,
            "seconds": results[0]["seconds"],
        }
        for name, results in runs.items()
    ]


def speed_table(found: list[dict[str, Any]]) -> str:
    """Markdown. The losses of reward models differ because each side draws its own head; `--parity` compares those."""
    heads = ["case", "variant", "seconds", "of which reference", "samples/s", "loop MiB", "ratio", "Δ loss of a step"]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for case in found:
        if "missing" in case:
            lines.append(f"| {case['case']} | **missing**: {case['missing']} | | | | | | |")
            continue
        for number, (variant, seconds) in enumerate(case["seconds"].items()):
            ratio = difference = ""
            if number == 0:
                lists = case["case"].startswith("lists")
                ratio = f"**{1 / case['ratio']:.2f}× the time**" if lists else f"**{case['ratio']:.1f}×**"
                difference = f"{case['loss_difference']:.0e}" if case["case"].startswith(("dpo", "kto")) else ""
            lines.append(
                f"| {case['case'] if number == 0 else ''} | {variant} | {seconds:.2f} | "
                f"{case['reference_seconds'][variant]:.2f} | {case['samples'] / seconds:.2f} | "
                f"{case['loop_mib'][variant]:,.0f} | {ratio} | {difference} |"
            )
    return "\n".join(lines)


def lever_table(found: list[dict[str, Any]]) -> str:
    lines = ["| lever | seconds | against the first | inside TRL's log-prob function |", "|---|---|---|---|"]
    for row in found:
        share = row["share_of_log_prob_function"]
        inside = "" if share is None else f"{share:.0%}"
        lines.append(f"| {row['lever']} | {row['seconds']:.2f} | {row['ratio']:.1f}× | {inside} |")
    return "\n".join(lines)


def memory_table(found: list[dict[str, Any]]) -> str:
    lines = ["| | whole process, MiB | loop and reference pass, MiB | seconds |", "|---|---|---|---|"]
    lines += [
        f"| {row['variant']} | {row['peak_mib']:,.0f} | {row['loop_mib']:,.0f} | {row['seconds']:.1f} |"
        for row in found
    ]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for part in PARTS:
        parser.add_argument(f"--{part}", action="store_true")
    parser.add_argument("--only", nargs="+", help=f"methods (--parity), or of {', '.join(CASES)} (--speed)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pairs", type=int, default=48)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--out", type=Path, help="write all figures here, as JSON")
    parser.add_argument("--verbose", action="store_true", help="let the workers print")
    options = parser.parse_args()
    if not PEERS.exists():
        print("TRL is not installed. Run: make peers", file=sys.stderr)
        return 2
    parts = [part for part in PARTS if getattr(options, part)] or list(PARTS)
    figures: dict[str, Any] = {"threads": options.threads, "pairs": options.pairs, "rounds": options.rounds}
    with tempfile.TemporaryDirectory() as temporary:
        bench = Bench(
            folder=Path(temporary),
            workers=Workers(threads=options.threads, verbose=options.verbose),
            pairs=options.pairs,
            rounds=options.rounds,
            only=set(options.only) if options.only else None,
        )
        for part in parts:
            measure, show = PARTS[part]
            figures[part] = measure(bench)
            print(f"\n## {part}\n\n{show(figures[part])}", flush=True)
    if options.out:
        options.out.write_text(json.dumps(figures, indent=1) + "\n")
    return 0


PARTS: dict[str, tuple[Callable[[Bench], list[dict[str, Any]]], Callable[[list[dict[str, Any]]], str]]] = {
    "parity": (lambda bench: parity.compare(bench.workers, bench.folder, bench.only), parity.table),
    "speed": (speed, speed_table),
    "memory": (memory, memory_table),
    "levers": (levers, lever_table),
}

if __name__ == "__main__":
    sys.exit(main())
