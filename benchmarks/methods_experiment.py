"""Every method in one small world with a known reward: how it learns, how far it moves, what it forgets.

    python benchmarks/methods_experiment.py --work FOLDER [--only dpo kto …] [--quick]
    python benchmarks/methods_experiment.py --work FOLDER --figures docs/images/methods --page docs/methods.md

The starter policy answers the grammar's prompts four times each; a rule scores the answers (finished, polite, neither
too short nor too long: 0 to 3), and pairs, thumbs, lists, ratings and demonstrations are made of the same answers, one
label in ten wrong. Each method sees the same number of completions, with its own defaults and the better of two
learning rates by prompts of their own, those left out that lead too far from the start policy. On held-out prompts,
three times: the known reward, KL to the start per completion, NLL per token of good answers; of reward models the
accuracy and Kendall's τ against the rule.

FOLDER keeps the starter policy (minutes, once) and every finished run, so that the same command goes on after a stop.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
RATES = (3e-4, 1e-3)
# Adapters start from nothing and want more.
RATES_OF_ADAPTERS = {"paft": (1e-3, 3e-3)}
# Nats per completion, about one for each word: a policy further away games the rule in a language of its own.
FARTHEST = 30.0
FAMILIES = {
    "pairs-with-reference": "Pairs, with a reference policy",
    "pairs-without-reference": "Pairs, without a reference policy",
    "thumbs": "Thumbs",
    "lists": "Lists",
    "demonstrations": "Demonstrations",
    "reward-models": "Reward models",
}
MARKS = ("<!-- experiment: begin -->", "<!-- experiment: end -->")


def starter(work: Path) -> Path:
    """The start policy's folder, made by the engine's own task when it is not there."""
    folder = work / "starter"
    if not (folder / "DONE.json").exists():
        spec = work / "starter.json"
        spec.write_text(json.dumps({"task": "starter", "config": {}}))
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


def prepare(work: Path, *, quick: bool) -> Any:
    """The world: prompts, the start policy's answers, and what is held out."""
    from experiment import training, world

    prompts, validation, test = (24, 8, 8) if quick else (120, 40, 60)
    asked = world.questions(prompts + validation + test)
    speaker, start = world.Speaker(), starter(work)
    choosing, held_out = asked[prompts : prompts + validation], asked[prompts + validation :]
    return training.Setting(
        start=start,
        speaker=speaker,
        train=world.answer(speaker, start, asked[:prompts], seed=world.SEED),
        validation=choosing,
        test=held_out,
        chosen_by=world.answer(speaker, start, choosing, seed=world.SEED + 3),
        judged=world.answer(speaker, start, held_out, seed=world.SEED + 2),
        points=3,
        epochs=1,
    )


def run_all(setting: Any, work: Path, only: list[str] | None, *, quick: bool) -> list[dict[str, Any]]:
    """The better run of every method; what failed says why instead."""
    from experiment import training

    kept = work / ("quick" if quick else "runs")
    kept.mkdir(exist_ok=True)
    found = []
    for name, method, kind in entries(only):
        tried, failed = [], ""
        rates = RATES_OF_ADAPTERS.get(method.name, RATES)
        for rate in rates[:1] if quick else rates:
            file = kept / f"{method.name}-{kind}-{rate:g}.json"
            started = time.perf_counter()
            if not file.exists():
                try:
                    result = training.train(setting, method, learning_rate=rate, trains=kind)
                except Exception as error:  # one method that cannot be run must not hide the others
                    result = {"failed": f"{type(error).__name__}: {error}"}
                file.write_text(json.dumps(result))
            result = json.loads(file.read_text())
            shown = result.get("failed") or f"validation {result['validation']:.3f}, KL {result['validation_kl']:.1f}"
            print(f"{name} at {rate:g}: {shown} ({time.perf_counter() - started:.0f} s)", file=sys.stderr, flush=True)
            if "failed" in result:
                failed = result["failed"]
            else:
                tried.append(result | {"learning_rate": rate})
        settings = training.SETTINGS.get(name, {})
        entry = {"method": name, "settings": settings, "family": family(method, kind), "trains": kind}
        found.append(entry | (better(tried) if tried else {"failed": failed}))
    return found


def better(tried: list[dict[str, Any]]) -> dict[str, Any]:
    """The run with the best validation among those that stay near the start, and what was left out for going too far
    although it scored better."""
    best = max(tried, key=lambda run: (run["validation_kl"] <= FARTHEST, run["validation"]))
    too_far = [run for run in tried if run["validation_kl"] > FARTHEST and run["validation"] > best["validation"]]
    return best | ({"left_out": too_far} if too_far else {})


def publish(start: dict[str, float], runs: list[dict[str, Any]], figures: Path | None) -> str:
    """A table per family as Markdown, with its figure; the figures and all numbers go into the folder."""
    from experiment.figures import family_chart, policy_table, reward_table, too_far

    parts = []
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
        parts.append(part + (reward_table(members) if rewards else policy_table(start, members)))
        parts += [too_far(run["method"], one) for run in members for one in run.get("left_out", ())]
    parts += [f"`{run['method']}` failed: {run['failed']}" for run in runs if "failed" in run]
    if figures:
        (figures / "experiment.json").write_text(json.dumps({"start": start, "runs": runs}, indent=1) + "\n")
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
    setting = prepare(options.work, quick=options.quick)
    start = training.look_at_start(setting)
    runs = run_all(setting, options.work, options.only, quick=options.quick)
    text = publish(start, runs, options.figures)
    print(text)
    if options.page:
        write_into(options.page, text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
