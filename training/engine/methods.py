"""The table of training methods: what each is called, needs and can be told.

Standard library only. The web forms, the command line, the checks of the data and the documentation are all
made from this table, and ``training.engine.losses`` attaches the functions to it. A method is one entry here,
one pure function in ``losses/``, nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Shape = Literal["pairwise", "unpaired", "listwise", "demonstration", "reward"]
DatasetKind = Literal["pairwise", "binary", "demonstration", "listwise"]
Reduction = Literal["sum", "mean"]

KIND_OF_SHAPE: dict[Shape, DatasetKind] = {
    "pairwise": "pairwise",
    "reward": "pairwise",
    "unpaired": "binary",
    "listwise": "listwise",
    "demonstration": "demonstration",
}


@dataclass(frozen=True, slots=True)
class Parameter:
    """One number or word that a method can be told; ``minimum`` and ``maximum`` are allowed values themselves."""

    name: str
    default: float | int | str | bool
    help: str
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Method:
    """A training method as people see it.

    ``shape`` decides the signature of its loss and the kind of dataset it learns from; ``reduction`` says whether
    the loss reads the summed or the per-token mean log-probability of a completion; ``learning_rate`` is the
    default for full fine-tuning; ``pitfall`` is the one thing that most often goes wrong.
    """

    name: str
    title: str
    shape: Shape
    needs_reference: bool
    reduction: Reduction
    parameters: tuple[Parameter, ...]
    paper: str
    summary: str
    pitfall: str
    learning_rate: float

    def defaults(self) -> dict[str, float | int | str | bool]:
        """The default of every parameter, by name."""
        return {parameter.name: parameter.default for parameter in self.parameters}


def _beta(default: float = 0.1) -> Parameter:
    return Parameter(
        "beta", default, "How strongly the policy is held to its reference; smaller lets it move further.", minimum=1e-6
    )


def _table(methods: Iterable[Method]) -> dict[str, Method]:
    return {method.name: method for method in methods}


METHODS: dict[str, Method] = _table(
    (
        Method(
            name="sft",
            title="Supervised fine-tuning",
            shape="demonstration",
            needs_reference=False,
            reduction="sum",
            parameters=(),
            paper="arXiv:2203.02155, section 3.5",
            summary="Imitates the demonstrations: maximises the log-probability of every completion token.",
            pitfall="More than a few epochs memorise the demonstrations; watch the held-out loss.",
            learning_rate=2e-5,
        ),
        Method(
            name="dpo",
            title="Direct preference optimisation",
            shape="pairwise",
            needs_reference=True,
            reduction="sum",
            parameters=(_beta(),),
            paper="arXiv:2305.18290, equation 7",
            summary="Raises the chosen completion over the rejected one, relative to a frozen reference policy. "
            "Pairs that annotators disagree about count as soft labels.",
            pitfall="The log-probability of chosen completions normally falls as well; a high learning rate lets it "
            "collapse while the accuracy still looks perfect.",
            learning_rate=1e-6,
        ),
        Method(
            name="kto",
            title="Kahneman–Tversky optimisation",
            shape="unpaired",
            needs_reference=True,
            reduction="sum",
            parameters=(
                _beta(),
                Parameter("desirable_weight", 1.0, "Weight of completions with a thumb up.", minimum=0.0),
                Parameter("undesirable_weight", 1.0, "Weight of completions with a thumb down.", minimum=0.0),
            ),
            paper="arXiv:2402.01306",
            summary="Learns from single completions with a thumb up or down, against a baseline that is measured on "
            "mismatched completions.",
            pitfall="Needs at least two different prompts in every step, else there is nothing to measure the "
            "baseline on; with very uneven labels, raise the weight of the rarer side.",
            learning_rate=1e-6,
        ),
        Method(
            name="bradley_terry",
            title="Bradley–Terry reward model",
            shape="reward",
            needs_reference=False,
            reduction="sum",
            parameters=(Parameter("centre", 0.01, "Pulls the rewards of a pair towards a sum of zero.", minimum=0.0),),
            paper="Bradley and Terry 1952; arXiv:2203.02155, equation 1; centring arXiv:2312.09244",
            summary="Gives every completion one number, so that the chosen completion of a pair gets the higher one.",
            pitfall="Over-fits after the first epoch; judge it by held-out accuracy, not by its loss.",
            learning_rate=1e-5,
        ),
    )
)


def dataset_kind(method: str) -> DatasetKind:
    """The kind of dataset version that ``method`` learns from. KeyError for a method that is not in the table."""
    return KIND_OF_SHAPE[METHODS[method].shape]
