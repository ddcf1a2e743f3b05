"""What a run looks at before it learns anything: cheap questions whose answers are worth knowing at once.

The reader of the data refuses what would train silently wrong (boundary, end token, double begin token, empty answers).
Here its counts and the shape of the data are put into sentences with a figure and, where something is wrong, a cure.
`level` is "ok", "warning" (the run goes on) or "refused" (what it would learn means nothing, so it does not start).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from training.engine.conversations import read_conversation
from training.engine.diagnostics import displacement, displacement_message
from training.engine.errors import EngineError, NothingLeft
from training.engine.methods import Method, trains_reward
from training.engine.rows import Row, read_rows
from training.engine.trees import DataReport, PromptTree

if TYPE_CHECKING:
    from training.engine.reward import Outputs

LONG_SHARE = 0.1
TIED_SHARE = 0.3
LENGTH_SHARE = 0.65
KTO_RATIO = (0.5, 2.0)
# z₀ is a mean over the mismatched completions of one step; of fewer than four it is mostly noise (TRL issue 2554).
KTO_BATCH = 4
# Nats by which the two passes' log-ratios may differ: they pad differently, and bfloat16 rounds each log-prob by about
# 0.03, which adds up over hundreds of tokens.
RATIO_TOLERANCE = {"float32": 2e-3, "bfloat16": 4.0}
# A loss may be as far off as its slope makes of these nats (IPO's slope is 200 times DPO's), and as this slope does.
LEAST_SLOPE = 0.05
# The default of every method that trains reward models only.
REWARD_RATE = 1e-5


Level = Literal["ok", "warning", "refused"]


@dataclass(frozen=True)
class Check:
    """One question and its answer; `value` is the figure behind the sentence, `field` what a refusal is about."""

    name: str
    level: Level
    message: str
    value: float
    field: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """The form in result.json."""
        return asdict(self)


def refuse(checks: Sequence[Check]) -> None:
    """Raise EngineError for the first check that refuses the run."""
    for one in checks:
        if one.level == "refused":
            raise EngineError(one.message, field=one.field)


def data_checks(split: str, report: DataReport) -> list[Check]:
    """Rows that were left out and how the others were read, for one split."""
    long, same = report.dropped_too_long, report.dropped_identical
    share = long / max(report.rows, 1)
    advice = " Raise max_length to learn from them." if share > LONG_SHARE else ""
    message = f"{long} of {report.rows} rows are longer than {report.max_length} tokens and were left out.{advice}"
    checks = [Check(f"{split}.too_long", "warning" if advice else "ok", message, share)]
    if report.prompt_tokens:  # an encoder reads prompt and answer as one
        checks += [_boundary(split, report), _ends(split, report), _begins(split, report)]
    if report.kind == "pairwise":
        message = f"{same} pairs have the same tokens on both sides and were left out."
        checks.append(Check(f"{split}.identical", "warning" if same else "ok", message, same))
    if report.kind == "listwise":
        lost = same + report.dropped_tied
        message = (
            f"{same} lists hold one distinct completion only, {report.dropped_tied} prefer none of theirs; they were "
            f"left out. In the others {report.merged_completions} completions that came twice count once."
        )
        checks.append(Check(f"{split}.undecided", "warning" if lost else "ok", message, lost))
    if report.truncated:
        message = (
            f"Earlier messages of {report.truncated} conversations were left out to fit {report.max_length} tokens."
        )
        checks.append(Check(f"{split}.truncated", "warning", message, report.truncated))
    return checks


def shape_checks(trees: Sequence[PromptTree], kind: str, config: Mapping[str, Any]) -> list[Check]:
    """Duplicates, length bias, ties, balance of labels: what a model could learn instead of quality."""
    checks = [_duplicates(trees), _weights(trees)]
    if kind == "pairwise":
        ties = sum(tree.targets.get("tie") or 0.0 for tree in trees) / len(trees)
        checks += [_length_bias(trees), _undecided(trees), _ties(ties)]
    if kind == "listwise":
        pairs = [one == other for tree in trees for one, other in combinations(tree.targets["rank"], 2)]
        checks.append(_ties(sum(pairs) / len(pairs)))
    labelled = [tree for tree in trees if tree.targets.get("label") is not None]
    if kind == "binary" and labelled:
        checks.append(_label_balance(labelled, config))
    return checks


def method_checks(method: Method, trees: Sequence[PromptTree], config: Mapping[str, Any]) -> list[Check]:
    """What this method needs of the data and the settings beside its columns."""
    checks = []
    if method.baseline == "kl":
        checks += [_baseline_batch(config["batch_size"]), _baseline_prompts(trees)]
    if method.trains == "either" and trains_reward(method, config):
        checks.append(_reward_rate(method, config["learning_rate"]))
    if "sync_steps" in config:
        checks.append(_moving_reference(len(trees), config))
    if method.shape == "rating":
        checks.append(_ratings(trees))
    return checks


def arithmetic_check(*, native: bool) -> Check:
    """Whether the machine of a run in bfloat16 has instructions for it (`precision.has_bfloat16`)."""
    if native:
        return Check("arithmetic", "ok", "This machine computes in bfloat16 by itself.", 1.0)
    message = (
        "This processor has no bfloat16 instructions, and imitating them takes many times as long as float32 does. "
        "Set dtype to float32."
    )
    return Check("arithmetic", "warning", message, 0.0, field="config.dtype")


def overlap_check(train: Path, held_out: Path, split: str, *, kind: str) -> Check:
    """Prompts that are both trained on and evaluated on make the held-out figures flattering, whole rows more so."""
    prompts, whole = set(), set()
    for row in read_rows(train):
        prompt, answers = _keys(row, kind)
        prompts.add(prompt)
        whole.add((prompt, answers))
    found = [_keys(row, kind) for row in read_rows(held_out)]
    shared, same = sum(prompt in prompts for prompt, _ in found), sum(one in whole for one in found)
    message = f"{shared} of {len(found)} prompts of {split} are also trained on, {same} of them with the same answers."
    if shared:
        message += " Their figures flatter the model: split by prompt."
    return Check(f"{split}.overlap", "warning" if shared else "ok", message, shared)


def first_loss_check(loss: float, expected: float, *, dtype: str, slope: float = 0.0) -> Check:
    """At step 0 policy and reference are the same, so the loss is known beforehand (ln 2 for DPO); ``slope`` is how
    fast it changes there, per nat of log-ratio.

    Raises EngineError when it is another.
    """
    if not abs(loss - expected) <= RATIO_TOLERANCE[dtype] * max(slope, LEAST_SLOPE):
        raise EngineError(
            f"The first loss is {loss:.6f} and must be {expected:.6f}, for policy and reference are still the same. "
            "The reference's log-probs do not belong to this data or this model; delete the run's checkpoint folder.",
            field="reference",
        )
    return Check("first_loss", "ok", f"The first loss is {loss:.6f}; {expected:.6f} was expected.", loss)


def end_checks(steps: Sequence[Mapping[str, float]]) -> list[Check]:
    """What the metrics of a run's steps say once it is over."""
    if not any("accuracy" in one and ("chosen_shift" in one or "chosen_nll" in one) for one in steps):
        return []
    fall = displacement(steps)
    if fall is None:
        message = "The chosen completions did not become unlikely while the accuracy rose."
        return [Check("displacement", "ok", message, 0.0)]
    return [Check("displacement", "warning", displacement_message(fall), fall)]


def _boundary(split: str, report: DataReport) -> Check:
    merged = report.boundary_merged
    message = f"In all {report.used} rows the answer begins where the prompt ends."
    if merged:
        message = (
            f"In {merged} of {report.used} rows the tokenizer would join the end of the prompt and the beginning of "
            "the answer. The answer is tokenised by itself there, as a sampler would go on."
        )
    return Check(f"{split}.boundary", "ok", message, merged)


def _ends(split: str, report: DataReport) -> Check:
    share = report.ended / max(report.completions, 1)
    message = f"{share:.1%} of {report.completions} completions end with an end token."
    if report.ended_otherwise:
        message += (
            f" {report.ended_otherwise} of them end with another one than the tokenizer's eos_token: other samplers "
            "stop there only where the model's generation_config.json names it, too."
        )
    if report.ended == report.completions:
        return Check(f"{split}.end_token", "ok", message, share)
    message += " From the others the policy learns not to stop; add eos_token to the chat template."
    return Check(f"{split}.end_token", "warning", message, share)


def _begins(split: str, report: DataReport) -> Check:
    if not report.begin_missing:
        return Check(f"{split}.begin_token", "ok", "No prompt lacks a begin token or has two.", 0)
    message = (
        f"{report.begin_missing} prompts lack the begin token that the tokenizer puts before every other text. "
        "Write bos_token at the beginning of the chat template, if the model was trained with it."
    )
    return Check(f"{split}.begin_token", "warning", message, report.begin_missing)


def _duplicates(trees: Sequence[PromptTree]) -> Check:
    counts = Counter((tree.prompt, tree.completions) for tree in trees)
    more = sum(counts.values()) - len(counts)
    message = f"{more} of {len(trees)} rows repeat another one, token by token."
    if more > len(trees) * LONG_SHARE:
        return Check("duplicates", "warning", message + " They count twice; give one row a weight instead.", more)
    return Check("duplicates", "ok", message, more)


def _weights(trees: Sequence[PromptTree]) -> Check:
    silent = sum(not tree.targets["weight"] for tree in trees)
    message = f"{silent} of {len(trees)} rows weigh 0 and teach nothing."
    if silent == len(trees):
        return Check("weights", "refused", f"{message} Give some of them a weight.", silent, "data.train")
    return Check("weights", "warning" if silent else "ok", message, silent)


def _ties(share: float) -> Check:
    message = f"{share:.0%} of the comparisons are ties."
    if share > TIED_SHARE:
        message += " Methods for pairs learn little from them; davidson and rao_kupper model ties."
        return Check("ties", "warning", message, share)
    return Check("ties", "ok", message, share)


def _baseline_batch(size: int) -> Check:
    message = f"The baseline of a step is measured on {size} completions."
    if size < KTO_BATCH:
        message += f" Of so few it is mostly noise; raise batch_size to {KTO_BATCH} or more."
        return Check("baseline_batch", "warning", message, size)
    return Check("baseline_batch", "ok", message, size)


def _baseline_prompts(trees: Sequence[PromptTree]) -> Check:
    prompts = len({tree.prompt for tree in trees})
    if prompts < 2:
        message = (
            "All rows have the same prompt, so there is no answer to another one to measure the baseline on. Add rows "
            "with other prompts, or take bco."
        )
        return Check("baseline_prompts", "refused", message, prompts, "data.train")
    message = f"{prompts} different prompts to measure the baseline on."
    if prompts < KTO_BATCH:
        return Check("baseline_prompts", "warning", message + " Add rows with other prompts, or take bco.", prompts)
    return Check("baseline_prompts", "ok", message, prompts)


def _reward_rate(method: Method, rate: float) -> Check:
    message = f"The learning rate is {rate:g}."
    if rate <= method.learning_rate:
        message += f" That is a policy's; reward models learn little at it. Usual for them is {REWARD_RATE:g}."
        return Check("learning_rate", "warning", message, rate, "config.learning_rate")
    return Check("learning_rate", "ok", message, rate)


def no_baseline(split: str) -> Check:
    """A split in which no answer fits another prompt, so that KTO's baseline cannot be measured there."""
    message = f"In {split} no answer fits another prompt: all rows have the same one, or both are too long together."
    if split == "train":
        message += " The baseline is measured on such pairs; add rows with other prompts, or raise max_length."
        return Check("train.baseline", "refused", message, 0, "data.train")
    message += " Its loss is measured against the last baseline of training."
    return Check(f"{split}.baseline", "warning", message, 0)


def nothing_left(split: str, error: NothingLeft) -> Check:
    """A held-out split that cannot be evaluated on, as none of its rows can be used."""
    return Check(f"{split}.rows", "warning", f"There will be no figures of {split}. {error.message}", 0)


def _moving_reference(rows: int, config: Mapping[str, Any]) -> Check:
    steps = config["epochs"] * math.ceil(rows / config["batch_size"])
    period = config["sync_steps"]
    message = f"The reference moves every {period} steps, and the run has about {steps}."
    if period >= steps:
        message += " It never moves, so this is dpo without its cache: lower sync_steps."
        return Check("moving_reference", "warning", message, steps / period)
    return Check("moving_reference", "ok", message, steps / period)


def head_check(before: Outputs, after: Outputs) -> Check:
    """Whether the head of an earlier reward model is trained on; else what it has learnt is lost."""
    old, new = (f"{one.kind} ({', '.join(one.names)})" for one in (before, after))
    if (before.kind, before.names) == (after.kind, after.names):
        return Check("head", "ok", f"The head of the reward model is trained on: {new}.", 1.0)
    message = (
        f"The reward model has a head for {old}; these rows and settings ask for {new}, so it gets a new head and "
        "loses what the old one has learnt."
    )
    return Check("head", "warning", message, 0.0)


def _ratings(trees: Sequence[PromptTree]) -> Check:
    rated = [tree.targets["ratings"] for tree in trees if tree.targets["ratings"]]
    # Beside ratings by aspect a thumb says nothing: there is no output for it.
    rows = rated or [{"label": float(label)} for tree in trees if (label := tree.targets["label"]) is not None]
    found: dict[str, set[float]] = {}
    for row in rows:
        for aspect, rating in row.items():
            found.setdefault(aspect, set()).add(rating)
    flat = sorted(aspect for aspect, ratings in found.items() if len(ratings) == 1)
    if found and len(flat) == len(found):
        message = "Every rating is the same, so there is nothing to tell apart. Add rows with other ratings."
        return Check("ratings", "refused", message, 0, "data.train")
    if rated and len(rated) < len(trees):
        message = (
            f"{len(trees) - len(rated)} of {len(trees)} rows have a label only and teach nothing beside the ratings of "
            "the others. Leave them out, or rate them."
        )
        return Check("ratings", "warning", message, len(trees) - len(rated))
    if flat:
        message = f"Ratings of {', '.join(flat)} are always the same and teach nothing. Leave them out of the dataset."
        return Check("ratings", "warning", message, len(flat))
    return Check("ratings", "ok", f"Ratings differ in each of {len(found)} aspects.", 0)


def _length_bias(trees: Sequence[PromptTree]) -> Check:
    gaps = [len(tree.completions[0]) - len(tree.completions[1]) for tree in trees]
    mean = sum(gaps) / len(gaps)
    unequal = sum(gap != 0 for gap in gaps)
    longer = sum(gap > 0 for gap in gaps) / max(unequal, 1)
    # Two standard errors: a handful of pairs is no evidence of a bias.
    biased = abs(longer - 0.5) > max(LENGTH_SHARE - 0.5, 1 / math.sqrt(max(unequal, 1)))
    message = f"The chosen answer is the longer one in {longer:.0%} of pairs, by {mean:+.1f} tokens on average."
    if biased:
        message += " A model can learn length instead of quality from this."
    return Check("length_bias", "warning" if biased else "ok", message, mean)


def _undecided(trees: Sequence[PromptTree]) -> Check:
    undecided = sum(tree.targets["p"] == 0.5 for tree in trees)
    level: Level = "warning" if undecided > len(trees) / 2 else "ok"
    message = f"{undecided} of {len(trees)} pairs are exactly undecided; accuracy leaves them out."
    return Check("undecided", level, message, undecided)


def _label_balance(trees: Sequence[PromptTree], config: Mapping[str, Any]) -> Check:
    up = sum(tree.targets["weight"] for tree in trees if tree.targets["label"])
    down = sum(tree.targets["weight"] for tree in trees if not tree.targets["label"])
    if not up or not down:
        side = "up" if up else "down"
        message = (
            f"All labels are thumbs {side}: the model only learns to make everything {'more' if up else 'less'} likely."
        )
        return Check("label_balance", "warning", message, float(bool(up)))
    ratio = (config.get("desirable_weight", 1.0) * up) / max(config.get("undesirable_weight", 1.0) * down, 1e-12)
    message = f"{up / (up + down):.0%} of the labels are thumbs up; both sides weigh {ratio:.2f} to 1."
    balanced = KTO_RATIO[0] <= ratio <= KTO_RATIO[1]
    if not balanced:
        # arXiv:2402.01306, section 4: keep the weighted ratio of the sides near 1 to 4/3.
        message += " Raise the weight of the rarer side until it is between 1 and 1.33."
    return Check("label_balance", "ok" if balanced else "warning", message, ratio)


def _keys(row: Row, kind: str) -> tuple[tuple[tuple[str, str], ...], frozenset[str]]:
    """What tells a prompt from others, and its answers, whichever of two sides they are on."""
    said = read_conversation(row, kind)
    return tuple((message["role"], message["content"]) for message in said.prompt), frozenset(said.completions)
