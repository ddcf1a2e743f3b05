"""Every method in small worlds with a known reward: how it learns, how far it moves, what it forgets.

    python benchmarks/methods_experiment.py --work FOLDER [--only dpo kto …] [--worlds 0 1 2] [--quick]
    python benchmarks/methods_experiment.py --work FOLDER --figures docs/images/methods --page docs/methods.md

The starter policy answers the grammar's prompts four times each; a rule scores the answers (finished, polite, neither
too short nor too long: 0 to 3), and pairs, thumbs, lists, ratings and demonstrations are made of the same answers, one
label in ten wrong. Each method sees the same number of completions, with its own defaults and the better of two
learning rates by prompts of their own, those left out that lead too far from the start policy. On held-out prompts,
three times: the known reward, KL to the start per completion, NLL per token of good answers; of reward models the
accuracy and Kendall's τ against the rule. All of it once in every world, whose number is the seed of everything in it;
shown are means, with the standard error of the worlds.

FOLDER keeps the starter policies (minutes, once) and every finished run, so that the same command goes on after a stop.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
RATES = (3e-4, 1e-3)
# Adapters start from nothing and want more.
RATES_OF_ADAPTERS = {"paft": (1e-3, 3e-3)}
# Nats per completion, about one for each word: a policy further away games the rule in a language of its own.
FARTHEST = 30.0
# A world's seeds begin here and are so far apart, because it draws more than once.
FIRST_SEED, STREAMS = 77, 10
FAMILIES = {
    "pairs-with-reference": "Pairs, with a reference policy",
    "pairs-without-reference": "Pairs, without a reference policy",
    "thumbs": "Thumbs",
    "lists": "Lists",
    "demonstrations": "Demonstrations",
    "reward-models": "Reward models",
}
MARKS = ("<!-- experiment: begin -->", "<!-- experiment: end -->")


def starter(work: Path, number: int) -> Path:
    """The folder of a world's start policy, made by the engine's own task when it is not there."""
    folder = work / f"starter-{number}"
    if not (folder / "DONE.json").exists():
        spec = work / f"starter-{number}.json"
        spec.write_text(json.dumps({"task": "starter", "config": {"seed": number}}))
        command = [sys.executable, "-m", "training.engine", "run", str(spec), "--out", str(folder)]
        subprocess.run(command, cwd=ROOT, check=True, stderr=subprocess.DEVNULL)
    return folder / "model"


def entries(only: list[str] | None) -> list[tuple[str, Any, str]]:
    """(name, method, what it trains); a method that can train both comes twice."""
    from training.engine.losses import LOSSES

    found = []
    for name, method in LOSSES.items():
        kinds = ("policy", "reward") if method.trains == "either" else (method.trains,)
        for kind in kinds:
            found.append((name, method, kind))
    return [one for one in found if only is None or one[0] in only]


def family(method: Any, kind: str) -> str:
    """The family (of FAMILIES) that a method belongs to."""
    if kind == "reward":
        return "reward-models"
    if method.shape == "pairwise":
        return "pairs-with-reference" if method.needs_reference else "pairs-without-reference"
    return {"unpaired": "thumbs", "listwise": "lists", "demonstration": "demonstrations"}[method.shape]


def prepare(work: Path, number: int, *, quick: bool) -> Any:
    """A world: prompts, the start policy's answers, and what is held out."""
    from experiment import training, world

    prompts, validation, test = (24, 8, 8) if quick else (120, 40, 60)
    seed = FIRST_SEED + STREAMS * number
    asked = world.questions(prompts + validation + test, seed=seed)
    speaker, start = world.Speaker(), starter(work, number)
    choosing, held_out = asked[prompts : prompts + validation], asked[prompts + validation :]
    return training.Setting(
        seed=seed,
        start=start,
        speaker=speaker,
        train=world.answer(speaker, start, asked[:prompts], seed=seed),
        validation=choosing,
        test=held_out,
        chosen_by=world.answer(speaker, start, choosing, seed=seed + 3),
        judged=world.answer(speaker, start, held_out, seed=seed + 2),
        points=3,
        epochs=1,
    )


def run_all(setting: Any, kept: Path, only: list[str] | None, *, quick: bool) -> dict[tuple[str, str, float], Any]:
    """What every method came to in a world, by name, what it trains and learning rate; what failed says why instead."""
    from experiment import training

    kept.mkdir(parents=True, exist_ok=True)
    found = {}
    for name, method, kind in entries(only):
        for rate in rates(name)[: 1 if quick else None]:
            file = kept / f"{name}-{kind}-{rate:g}.json"
            started = time.perf_counter()
            if not file.exists():
                try:
                    result = training.train(setting, method, learning_rate=rate, trains=kind)
                except Exception as error:  # one method that cannot be run must not hide the others
                    result = {"failed": f"{type(error).__name__}: {error}"}
                file.write_text(json.dumps(result))
            found[name, kind, rate] = result = json.loads(file.read_text())
            shown = result.get("failed") or f"validation {result['validation']:.3f}, KL {result['validation_kl']:.1f}"
            print(f"{name} at {rate:g}: {shown} ({time.perf_counter() - started:.0f} s)", file=sys.stderr, flush=True)
    return found


def rates(name: str) -> tuple[float, ...]:
    """The learning rates that a method tries."""
    return RATES_OF_ADAPTERS.get(name, RATES)


def over_worlds(worlds: Sequence[dict[tuple[str, str, float], Any]], only: list[str] | None) -> list[dict[str, Any]]:
    """Of every method the better learning rate, with the means of its runs; what failed anywhere says why instead."""
    from experiment import training

    found = []
    for name, method, kind in entries(only):
        runs = {rate: [one[name, kind, rate] for one in worlds if (name, kind, rate) in one] for rate in rates(name)}
        tried = {rate: members for rate, members in runs.items() if members}
        failed = [run["failed"] for members in tried.values() for run in members if "failed" in run]
        means = [{"learning_rate": rate} | mean_run(members) for rate, members in tried.items()] if not failed else []
        settings = training.SETTINGS.get(name, {})
        entry = {"method": name, "settings": settings, "family": family(method, kind), "trains": kind}
        found.append(entry | (better(means) if means else {"failed": failed[0]}))
    return found


def mean_run(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The runs of several worlds as one: means, and what each world came to in the end."""
    return {
        "validation": statistics.fmean(run["validation"] for run in runs),
        "validation_kl": statistics.fmean(run["validation_kl"] for run in runs),
        "curve": [mean_point(points) for points in zip(*(run["curve"] for run in runs), strict=True)],
        "worlds": [run["curve"][-1] for run in runs],
    }


def mean_point(points: Sequence[dict[str, float]]) -> dict[str, float]:
    """The mean of every figure."""
    return {name: statistics.fmean(point[name] for point in points) for name in points[0]}


def better(tried: list[dict[str, Any]]) -> dict[str, Any]:
    """The learning rate with the best validation among those that stay near the start, and what was left out for going
    too far although it scored better."""
    best = max(tried, key=lambda run: (run["validation_kl"] <= FARTHEST, run["validation"]))
    too_far = [run for run in tried if run["validation_kl"] > FARTHEST and run["validation"] > best["validation"]]
    return best | ({"left_out": too_far} if too_far else {})


def publish(starts: list[dict[str, float]], runs: list[dict[str, Any]], figures: Path | None) -> str:
    """A table per family as Markdown, with its figure; the figures and all numbers go into the folder."""
    from experiment.figures import family_chart, policy_table, reward_table, too_far

    parts, start = [], mean_point(starts)
    for name, title in FAMILIES.items():
        members = [run for run in runs if run["family"] == name and "failed" not in run]
        if not members:
            continue
        rewards = name == "reward-models"
        part = f"### {title}\n\n"
        if figures:
            figures.mkdir(parents=True, exist_ok=True)
            curves = {run["method"]: [*([] if rewards else [start]), *run["curve"]] for run in members}
            measure = "accuracy" if rewards else "reward"
            (figures / f"{name}.svg").write_text(family_chart(title, curves, measure))
            part += f"![{title}: {measure} on held-out prompts over the run](images/methods/{name}.svg)\n\n"
        parts.append(part + (reward_table(members) if rewards else policy_table(starts, members)))
        parts += [too_far(run["method"], one) for run in members for one in run.get("left_out", ())]
    parts += [f"`{run['method']}` failed: {run['failed']}" for run in runs if "failed" in run]
    if figures:
        (figures / "experiment.json").write_text(json.dumps({"starts": starts, "runs": runs}, indent=1) + "\n")
    return "\n\n".join(parts)


def write_into(page: Path, text: str) -> None:
    """Replace what stands between the page's marks."""
    before, _, rest = page.read_text(encoding="utf-8").partition(MARKS[0])
    _, found, after = rest.partition(MARKS[1])
    if not found:
        raise SystemExit(f"{page} has no marks {MARKS[0]} and {MARKS[1]}.")
    page.write_text(f"{before}{MARKS[0]}\n{text}\n{MARKS[1]}{after}", encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path(os.environ.get("TMPDIR", "/tmp")) / "plumb-methods")
    parser.add_argument("--figures", type=Path, help="write one SVG per family and experiment.json here")
    parser.add_argument("--page", type=Path, help="write the tables between the marks of this page")
    parser.add_argument("--only", nargs="+", help="methods by name")
    parser.add_argument("--quick", action="store_true", help="a few prompts, one learning rate: does everything run?")
    parser.add_argument("--worlds", nargs="+", type=int, default=[0, 1, 2], help="their numbers (default: 0 1 2)")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    os.environ |= {"OMP_NUM_THREADS": str(options.threads), "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    import torch
    from experiment import training
    from transformers.utils.logging import disable_progress_bar, set_verbosity_error

    torch.set_num_threads(options.threads)
    disable_progress_bar()
    set_verbosity_error()
    starts, worlds = [], []
    for number in options.worlds:
        print(f"World {number}", file=sys.stderr, flush=True)
        setting = prepare(options.work, number, quick=options.quick)
        starts.append(training.look_at_start(setting))
        kept = options.work / f"{'quick' if options.quick else 'runs'}-{number}"
        worlds.append(run_all(setting, kept, options.only, quick=options.quick))
    text = publish(starts, over_worlds(worlds, options.only), options.figures)
    print(text)
    if options.page:
        write_into(options.page, text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
