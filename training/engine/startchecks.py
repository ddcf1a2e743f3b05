"""What a run looks at before it learns anything: cheap questions whose answers are worth knowing at once.

The reader of the data refuses what would train silently wrong (boundary, end token, double begin token, empty answers).
Here its counts and the shape of the data are put into sentences; `level` is "ok" or "warning". The one refusal is a
first loss that cannot be, because then the reference's log-probs do not belong to these trees.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from training.engine.errors import EngineError
from training.engine.rows import messages, read_rows
from training.engine.trees import DataReport, PromptTree

LONG_SHARE = 0.1
LENGTH_SHARE = 0.65
KTO_RATIO = (0.5, 2.0)
# bfloat16 rounds each log-prob by about 0.03, and the two passes pad differently: hundreds of tokens add up.
LOSS_TOLERANCE = {"float32": 1e-4, "bfloat16": 0.2}


@dataclass(frozen=True)
class Check:
    """One question and its answer; `value` is the figure behind the sentence."""

    name: str
    level: str
    message: str
    value: float

    def as_dict(self) -> dict[str, Any]:
        """The form in result.json."""
        return asdict(self)


def data_checks(split: str, report: DataReport) -> list[Check]:
    """Rows that were left out, for one split."""
    long, same = report.dropped_too_long, report.dropped_identical
    share = long / max(report.rows, 1)
    advice = " Raise max_length to learn from them." if share > LONG_SHARE else ""
    message = f"{long} of {report.rows} rows are longer than {report.max_length} tokens and were left out.{advice}"
    checks = [Check(f"{split}.too_long", "warning" if advice else "ok", message, share)]
    if report.prompt_tokens:  # an encoder reads prompt and answer as one
        message = f"All {report.used} rows: the answer begins where the prompt ends, and ends with an end token."
        checks.append(Check(f"{split}.boundary", "ok", message, report.used))
    if report.kind == "pairwise":
        message = f"{same} pairs have the same tokens on both sides and were left out."
        checks.append(Check(f"{split}.identical", "warning" if same else "ok", message, same))
    if report.kind == "listwise":
        lost = same + report.dropped_tied
        message = f"{same} lists hold one text only, {report.dropped_tied} prefer none of theirs; they were left out."
        checks.append(Check(f"{split}.undecided", "warning" if lost else "ok", message, lost))
    if report.truncated:
        message = (
            f"Earlier messages of {report.truncated} conversations were left out to fit {report.max_length} tokens."
        )
        checks.append(Check(f"{split}.truncated", "warning", message, report.truncated))
    return checks


def shape_checks(trees: Sequence[PromptTree], kind: str, config: Mapping[str, Any]) -> list[Check]:
    """Length bias of pairs, balance of labels: what a model could learn instead of quality."""
    if kind == "pairwise":
        return [_length_bias(trees), _undecided(trees)]
    labelled = [tree for tree in trees if tree.targets.get("label") is not None]
    return [_label_balance(labelled, config)] if kind == "binary" and labelled else []


def overlap_check(train: Path, held_out: Path, split: str) -> Check:
    """Prompts that are both trained on and evaluated on make the held-out figures flattering."""
    known = {_prompt_key(row) for row in read_rows(train)}
    rows = [_prompt_key(row) for row in read_rows(held_out)]
    shared = sum(key in known for key in rows)
    message = f"{shared} of {len(rows)} prompts of {split} are also trained on."
    if shared:
        message += " Their figures flatter the model: split by prompt."
    return Check(f"{split}.overlap", "warning" if shared else "ok", message, shared)


def first_loss_check(loss: float, expected: float, *, dtype: str) -> Check:
    """At step 0 policy and reference are the same, so the loss is known beforehand (ln 2 for DPO).

    Raises EngineError when it is another.
    """
    if not abs(loss - expected) <= LOSS_TOLERANCE[dtype]:
        raise EngineError(
            f"The first loss is {loss:.6f} and must be {expected:.6f}, for policy and reference are still the same. "
            "The reference's log-probs do not belong to this data or this model; delete the run's checkpoint folder.",
            field="reference",
        )
    return Check("first_loss", "ok", f"The first loss is {loss:.6f}; {expected:.6f} was expected.", loss)


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
    level = "warning" if undecided > len(trees) / 2 else "ok"
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


def _prompt_key(row: Any) -> tuple[tuple[str, str], ...]:
    return tuple((message["role"], message["content"]) for message in messages(row, "prompt"))
