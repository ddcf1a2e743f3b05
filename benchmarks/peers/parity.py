"""Which of our methods is which of TRL's, and whether loss and gradient are the same.

Both sides start from the same random policy and compare with another random policy as reference, so that no term is
zero. Equal means 1e-4 relative: of the loss, and of the norm of the whole gradient's difference. What only shows after
a step is compared by the losses of several.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from peers import cases
from peers.running import Workers

TOLERANCE = 1e-4
ROWS = 6
EVEN = "completions of one length"
BARE = "completions of one length, prompts of one token"
TWO = "two rows"
LENGTHS = {
    "": cases.Lengths(prompt=(5, 15), completion=(4, 24)),
    EVEN: cases.Lengths(prompt=(5, 15), completion=(12, 12)),
    BARE: cases.Lengths(prompt=(1, 1), completion=(12, 12)),
    TWO: cases.Lengths(prompt=(5, 15), completion=(4, 24)),
}


@dataclass(frozen=True)
class Counterpart:
    """One of our methods and what it is called there; `data` restricts the rows to where the definitions meet."""

    method: str
    trainer: str
    config: dict[str, Any] = field(default_factory=dict)
    arguments: dict[str, Any] = field(default_factory=dict)
    data: str = ""
    note: str = ""
    reference: bool = True
    margin: bool = False
    steps: int = 1

    @property
    def theirs(self) -> str:
        """What one writes there."""
        return ", ".join([self.trainer, *(f"{name}={value!r}" for name, value in self.arguments.items())])


def _dpo(method: str, loss_type: str, *, note: str = "", data: str = "", **pairs: tuple[Any, str]) -> Counterpart:
    """A loss of TRL's DPOTrainer; `pairs` are our parameter = (value, their name)."""
    config = {name: value for name, (value, _) in pairs.items()}
    arguments = {"loss_type": [loss_type]} | {their: value for value, their in pairs.values()}
    return Counterpart(method, "dpo", config, arguments, data, note)


def _divergence(ours: str, theirs: str, **more: Any) -> Counterpart:
    note = "their coefficient is 1 - α of the paper" if ours == "alpha" else ""
    config = {"beta": 0.1, "divergence": ours} | ({"alpha": 0.3} if ours == "alpha" else {})
    arguments = {"loss_type": ["sigmoid"], "beta": 0.1, "f_divergence_type": theirs, **more}
    return Counterpart("f_dpo", "dpo", config, arguments, "", note)


BATCH_MEAN = "their NLL is a mean over the tokens of the batch, ours of each completion: equal for equal lengths"
COUNTERPARTS = (
    _dpo("dpo", "sigmoid", beta=(0.1, "beta")),
    _dpo("ipo_norm", "ipo", tau=(1.0, "beta"), note="their ipo is the per-token mean; the paper's sum is our ipo"),
    _dpo("hinge", "hinge", beta=(0.05, "beta")),
    _dpo("robust_dpo", "robust", beta=(0.1, "beta"), label_smoothing=(0.1, "label_smoothing")),
    _dpo("exo", "exo_pair", beta=(0.1, "beta"), label_smoothing=(1e-3, "label_smoothing")),
    _dpo("nca", "nca_pair", beta=(0.01, "beta")),
    _dpo("bco_pair", "bco_pair", beta=(0.01, "beta"), note="they have no δ; ours is 0 unless set"),
    _dpo("sppo_hard", "sppo_hard", beta=(1e-3, "beta")),
    _dpo("apo_zero", "apo_zero", beta=(0.1, "beta")),
    _dpo("apo_down", "apo_down", beta=(0.1, "beta")),
    _dpo("aot", "aot", beta=(0.1, "beta"), data=EVEN),
    _dpo("discopop", "discopop", beta=(0.1, "beta"), tau=(0.05, "discopop_tau")),
    _dpo("dpo_norm", "sigmoid_norm", beta=(5.0, "beta")),
    _dpo("ld_dpo", "sigmoid", beta=(0.1, "beta"), ld_alpha=(0.5, "ld_alpha")),
    _divergence("forward_kl", "forward_kl"),
    _divergence("js", "js_divergence"),
    _divergence("alpha", "alpha_divergence", f_alpha_divergence_coef=0.7),
    Counterpart(
        "wpo", "dpo", {"beta": 0.1}, {"loss_type": ["sigmoid"], "beta": 0.1, "use_weighting": True},
        note="our weight is at most 1, theirs has no bound",
    ),
    Counterpart(
        "rpo", "dpo", {"beta": 0.1, "nll_weight": 0.5},
        {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, 0.5], "beta": 0.1}, EVEN, BATCH_MEAN,
    ),
    Counterpart(
        "tr_dpo", "dpo", {"beta": 0.1, "mixup_alpha": 0.6, "sync_steps": 1, "learning_rate": 1e-3},
        {"loss_type": ["sigmoid"], "beta": 0.1, "sync_ref_model": True, "ref_model_mixup_alpha": 0.6,
         "ref_model_sync_steps": 1}, note="losses of three steps", steps=3,
    ),
    Counterpart("kto", "kto", {"beta": 0.1}, {"beta": 0.1}, TWO, "they mismatch inside a batch: equal for two rows"),
    Counterpart("apo_zero_unpaired", "kto", {"beta": 0.1}, {"beta": 0.1, "loss_type": "apo_zero_unpaired"}),
    Counterpart(
        "cpo", "cpo", {"beta": 0.1, "nll_weight": 1.0}, {"beta": 0.1, "cpo_alpha": 1.0}, EVEN, BATCH_MEAN, False
    ),
    Counterpart(
        "simpo", "cpo", {"beta": 2.0, "gamma_beta_ratio": 0.5},
        {"loss_type": "simpo", "beta": 2.0, "simpo_gamma": 1.0, "cpo_alpha": 0.0},
        note="γ there, γ/β here", reference=False,
    ),
    Counterpart(
        "alpha_po", "cpo", {"beta": 2.0, "alpha": 0.25, "gamma_beta_ratio": 0.5},
        {"loss_type": "simpo", "beta": 2.0, "simpo_gamma": 1.0, "alpha": 0.25, "cpo_alpha": 0.0}, reference=False,
    ),
    Counterpart(
        "slic", "cpo", {"margin": 1.0, "nll_weight": 0.1}, {"loss_type": "hinge", "beta": 1.0, "cpo_alpha": 0.1}, EVEN,
        "their hinge is SLiC at β = 1, margin 1; " + BATCH_MEAN, False,
    ),
    Counterpart(
        "orpo", "orpo", {"odds_weight": 0.1}, {"beta": 0.1}, BARE,
        "their NLL covers the prompt too: equal for prompts of one token; " + BATCH_MEAN, False,
    ),
    Counterpart(
        "bradley_terry", "reward", {"centre": 0.01}, {"center_rewards_coefficient": 0.01}, reference=False,
        margin=True, note="their head has no bias, ours begins at 0",
    ),
)  # fmt: skip
WITHOUT = {
    "cdpo": "TRL's sigmoid has no label smoothing any more",
    "ipo": "TRL's DPO trainer has the per-token mean only",
    "bco": "TRL 1.16 has no BCO trainer any more",
}


def compare(workers: Workers, folder: Path, only: set[str] | None = None) -> list[dict[str, Any]]:
    """A row for every counterpart: relative differences of loss and gradient, or what is missing."""
    model = cases.make_model(folder / "tiny", cases.TINY, seed=1)
    reference = cases.make_model(folder / "tiny-reference", cases.TINY, seed=2)
    chosen = [one for one in COUNTERPARTS if only is None or one.method in only]
    jobs = [_job(number, one, folder, model, reference) for number, one in enumerate(chosen)]
    ours = workers.run("ours", jobs)
    for job, found in zip(jobs, ours, strict=True):  # TRL reads the plan; a missing method has one all the same
        found.setdefault("plan", [list(range(len(Path(job["rows"]).read_text().splitlines())))])
        Path(job["plan"]).write_text(json.dumps(found))
    theirs = workers.run("theirs", jobs)
    return [
        _row(one, job, mine, other) for one, job, mine, other in zip(chosen, jobs, ours, theirs, strict=True)
    ]  # fmt: skip


def table(rows: list[dict[str, Any]]) -> str:
    """The comparison as Markdown."""
    lines = ["| ours | TRL | loss | Δ loss | Δ gradient | |", "|---|---|---|---|---|---|"]
    for row in rows:
        if "missing" in row:
            lines.append(f"| `{row['method']}` | {row['theirs']} | | | | **missing**: {row['missing']} |")
            continue
        verdict = "" if row["equal"] else "**differs** "
        gradient = "" if row["gradient_difference"] is None else f"{row['gradient_difference']:.0e}"
        figures = f"{row['loss']:.6g} | {row['loss_difference']:.0e} | {gradient}"
        lines.append(f"| `{row['method']}` | {row['theirs']} | {figures} | {verdict}{row['note']} |")
    lines += [f"| `{name}` | none | | | | {why} |" for name, why in WITHOUT.items()]
    return "\n".join(lines)


def _job(number: int, one: Counterpart, folder: Path, model: Path, reference: Path) -> dict[str, Any]:
    count = 2 if one.data == TWO else ROWS
    binary = one.trainer == "kto"
    made = (cases.binary_rows if binary else cases.pair_rows)(count, cases.TINY, LENGTHS[one.data], seed=5)
    rows = list(made)
    if one.margin:
        rows = [{**row, "margin": 0.5 * at} for at, row in enumerate(rows)]
    job = {
        "method": one.method,
        "model": str(model),
        "rows": str(cases.write_rows(folder / f"parity-{number}.jsonl", iter(rows))),
        # Every row in one step and one pass: what compares the rows of a batch compares the same ones on both sides.
        "config": {"batch_size": count // one.steps, "learning_rate": 1e-5, **one.config},
        "plan": str(folder / f"parity-{number}.plan.json"),
        "trl": {"trainer": one.trainer, "arguments": one.arguments},
    }
    if one.steps == 1:
        job["gradients"] = str(folder / f"parity-{number}.{{side}}.safetensors")
    if one.reference:
        job["reference"] = str(reference)
    if one.trainer == "reward":
        job["start"] = str(folder / f"parity-{number}.start.safetensors")
    return job


def _row(one: Counterpart, job: dict[str, Any], mine: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = {"method": one.method, "theirs": one.theirs, "note": one.note}
    for side in (mine, other):
        if "missing" in side:
            return row | {"missing": side["missing"]}
    losses = list(zip(mine["losses"], other["losses"], strict=True))
    figures: dict[str, Any] = {
        "loss": mine["losses"][-1],
        "loss_difference": max(abs(a - b) / max(abs(b), 1e-12) for a, b in losses),
        "gradient_difference": _gradient_difference(job["gradients"]) if "gradients" in job else None,
    }
    equal = max(figures["loss_difference"], figures["gradient_difference"] or 0.0) <= TOLERANCE
    return row | figures | {"equal": equal}


def _gradient_difference(pattern: str) -> float:
    """Norm of the difference over the norm of TRL's gradient, over the weights that both have."""
    ours, theirs = (load_file(pattern.format(side=side)) for side in ("ours", "theirs"))
    ours = {name.replace("backbone.", "model.", 1): value for name, value in ours.items()}
    ours = {name.replace("head.", "score.") if name.startswith("head.") else name: ours[name] for name in ours}
    only_here = set(ours) ^ set(theirs)
    assert only_here <= {"score.bias"}, f"the models differ in {sorted(only_here)}"
    norm = sum(float(value.double().square().sum()) for value in theirs.values()) ** 0.5
    gap = sum(float((ours[name].double() - value.double()).square().sum()) for name, value in theirs.items()) ** 0.5
    return gap / max(norm, 1e-12)
