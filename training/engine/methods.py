"""What a training method is, and the decorator that makes one out of a loss function.

A method is one decorated function in ``losses/``: its signature names its settings and their defaults, its docstring
is its documentation. The web forms, the command line, the checks of the data and docs/methods.md are made from what is
read here. Standard library only, and so are the modules of the losses until they are called: the web process builds
its forms from them without loading torch.
"""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

Shape = Literal["pairwise", "unpaired", "listwise", "demonstration", "reward", "rating"]
DatasetKind = Literal["pairwise", "binary", "demonstration", "listwise"]
Trains = Literal["policy", "reward", "either"]
Baseline = Literal["none", "kl", "running_mean"]
Value = float | int | str | bool

KIND_OF_SHAPE: dict[Shape, DatasetKind] = {
    "pairwise": "pairwise",
    "reward": "pairwise",
    "rating": "binary",
    "unpaired": "binary",
    "listwise": "listwise",
    "demonstration": "demonstration",
}


@dataclass(frozen=True, slots=True)
class Parameter:
    """One number or word that a method can be told; ``minimum`` and ``maximum`` are allowed values themselves.

    ``column``: the rows of a dataset may say it one by one, in the column of this name; the setting is for those that
    do not.
    """

    name: str
    default: Value
    help: str
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] | None = None
    column: str | None = None


@dataclass(frozen=True, slots=True)
class Method:
    """A training method.

    ``fn`` is the loss; ``summary`` says to everybody what it does, ``shapes`` to programmers what goes in and comes
    out. ``shape`` fixes its signature (design, section 7) and with ``dataset_kind`` what it learns from;
    ``parameters`` are its settings, ``passed`` the names of those that ``fn`` takes. ``extras`` are what the scores
    must carry beyond sums (``prefix``, ``certainty``); ``baseline`` is the state that an unpaired loss is measured
    against; with ``whole_step`` the loss compares the completions of a whole optimiser step and is never computed on a
    part of one; with ``per_token`` it compares means over tokens instead of sums, and the rewards that are shown of it
    are means as well. ``learning_rate`` is the default for full fine-tuning.
    """

    fn: Callable[..., Any]
    name: str
    title: str
    formula: str
    summary: str
    shapes: str
    use: str
    pitfall: str
    paper: str
    shape: Shape
    dataset_kind: DatasetKind
    trains: Trains
    needs_reference: bool
    learning_rate: float
    parameters: tuple[Parameter, ...]
    passed: frozenset[str]
    extras: frozenset[str]
    baseline: Baseline
    whole_step: bool
    per_token: bool

    def defaults(self) -> dict[str, Value]:
        """The default of every parameter, by name."""
        return {parameter.name: parameter.default for parameter in self.parameters}


METHODS: dict[str, Method] = {}

_WEIGHT = "Weight of completions with a thumb {}."
PARAMETERS: dict[str, Parameter] = {
    one.name: one
    for one in (
        Parameter(
            "beta", 0.1, "How strongly the policy is held to its reference; smaller lets it move further.", minimum=1e-6
        ),
        Parameter(
            "label_smoothing", 0.1, "Assumed share of wrong labels, below one half.", minimum=0.0, maximum=0.499
        ),
        Parameter(
            "p", 1.0, "Probability that the chosen one is better, where the row does not say.",
            minimum=0.0, maximum=1.0, column="p",
        ),
        Parameter("offset", 0.0, "Lead that the chosen one must have, where the row does not say.", column="offset"),
        Parameter("gap", 1.0, "Teacher's reward of the chosen one less the rejected one's, where no row says.",
                  column="gap"),
        Parameter("eta", 1.0, "Scale of the teacher's rewards.", minimum=0.0),
        Parameter("tau", 0.1, "Strength of the pull to the reference; the margin aimed at is 1/(2 tau).", minimum=1e-6),
        Parameter("delta", 0.0, "Reward that separates good from bad."),
        Parameter("nll_weight", 1.0, "Weight of the chosen completion's likelihood, per token.", minimum=0.0),
        Parameter("gamma_beta_ratio", 0.5, "Margin between the two mean log-probs, as a share of beta.", minimum=0.0),
        Parameter("odds_weight", 0.1, "Weight of the odds ratio beside the likelihood.", minimum=0.0),
        Parameter("margin", 1.0, "Nats by which the chosen one must be likelier.", minimum=0.0),
        Parameter("ld_alpha", 0.5, "Weight of the tokens behind the shorter length.", minimum=0.0, maximum=1.0),
        Parameter("desirable_weight", 1.0, _WEIGHT.format("up"), minimum=0.0),
        Parameter("undesirable_weight", 1.0, _WEIGHT.format("down"), minimum=0.0),
        Parameter("centre", 0.01, "Pulls the rewards of a prompt towards a mean of zero.", minimum=0.0),
        Parameter("negatives", 0, "Worse completions that the best one is compared with; 0 takes all.", minimum=0),
    )
}  # fmt: skip

# What the objective hands over itself: no settings of a run.
_GIVEN = frozenset({"noise", "rewards", "tie_odds", "demonstrations"})

TRAINS = Parameter(
    "trains",
    "policy",
    "What becomes of the model: a policy, or a reward model, for which a learning rate of 1e-5 is a better start.",
    choices=("policy", "reward"),
)


def method(
    *,
    shape: Shape,
    learning_rate: float,
    reference: bool = False,
    parameters: Iterable[Parameter] = (),
    dataset_kind: DatasetKind | None = None,
    trains: Trains | None = None,
    value_beta: float | None = None,
    extras: Iterable[str] = (),
    baseline: Baseline = "none",
    whole_step: bool = False,
    per_token: bool = False,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Enter a loss function into METHODS, as it is.

    Settings are the keyword-only arguments of the function with their defaults; what they mean is looked up in
    ``parameters``, else in PARAMETERS. ``parameters`` may name further settings that the objective reads.
    ``value_beta`` adds the setting ``beta`` to a loss over values, which are then beta·(log π - log π_ref).
    ``reference`` of such a method concerns the policy only. ValueError for a docstring without its parts, an unknown
    setting or a name that is taken.
    """

    def enter(fn: Callable[..., Any]) -> Callable[..., Any]:
        described = _read_docstring(fn)
        own = {one.name: one for one in parameters}
        found = [_parameter(name, default, own) for name, default in _settings(fn)]
        passed = frozenset(one.name for one in found)
        if value_beta is not None:
            found.insert(0, replace(PARAMETERS["beta"], default=value_beta))
        found += [one for name, one in own.items() if name not in passed]
        target: Trains = trains or ("reward" if shape in ("reward", "rating") else "policy")
        if target == "either":
            found.append(TRAINS)
        if fn.__name__ in METHODS:
            raise ValueError(f"there is a method {fn.__name__!r} already; give the function another name")
        METHODS[fn.__name__] = Method(
            fn=fn,
            name=fn.__name__,
            **described,
            shape=shape,
            dataset_kind=dataset_kind or KIND_OF_SHAPE[shape],
            trains=target,
            needs_reference=reference,
            learning_rate=learning_rate,
            parameters=tuple(found),
            passed=passed,
            extras=frozenset(extras),
            baseline=baseline,
            whole_step=whole_step,
            per_token=per_token,
        )
        return fn

    return enter


def trains_reward(method: Method, config: Mapping[str, Any]) -> bool:
    """Whether a run of this method with these settings makes a reward model."""
    return method.trains == "reward" or (method.trains == "either" and config.get("trains") == "reward")


def uses_reference(method: Method, config: Mapping[str, Any]) -> bool:
    """Whether a run of this method with these settings compares with a reference policy."""
    return method.needs_reference and not trains_reward(method, config)


def _settings(fn: Callable[..., Any]) -> list[tuple[str, Any]]:
    keywords = [one for one in inspect.signature(fn).parameters.values() if one.kind is one.KEYWORD_ONLY]
    return [(one.name, one.default) for one in keywords if one.name not in _GIVEN]


def _parameter(name: str, default: Any, own: Mapping[str, Parameter]) -> Parameter:
    known = own.get(name) or PARAMETERS.get(name)
    if known is None:
        raise ValueError(f"nobody says what the setting {name!r} means; pass a Parameter of this name")
    if default is inspect.Parameter.empty:
        raise ValueError(f"the setting {name!r} needs a default")
    return replace(known, default=default)


_FIELD = re.compile(r"^(Use|Pitfall|Paper): *", re.MULTILINE)
_SENTENCE = re.compile(r"(?<=\.) (?=\S)")


def _read_docstring(fn: Callable[..., Any]) -> dict[str, str]:
    """Title, indented formula, summary, shapes, and the fields `Use:`, `Pitfall:` and `Paper:` of a loss's docstring.

    The shapes are the sentence of the prose with an arrow, [B] → [B], and what stands behind it.
    """
    text = inspect.cleandoc(fn.__doc__ or "")
    head, *rest = _FIELD.split(text)
    fields = {name.lower(): _one_line(value) for name, value in zip(rest[0::2], rest[1::2], strict=True)}
    blocks = [block for block in re.split(r"\n\s*\n", head) if block.strip()]
    title, body = ("", blocks) if not blocks or blocks[0].startswith("    ") else (blocks[0], blocks[1:])
    formulas = [textwrap.dedent(block).strip() for block in body if block.startswith("    ")]
    prose = _SENTENCE.split(_one_line(" ".join(block for block in body if not block.startswith("    "))))
    arrow = next((index for index, sentence in enumerate(prose) if "→" in sentence), len(prose))
    summary, shapes = " ".join(prose[:arrow]), " ".join(prose[arrow:])
    missing = [name for name in ("use", "pitfall", "paper") if not fields.get(name)]
    missing += [] if title else ["title"]
    missing += [] if formulas else ["indented formula"]
    missing += [] if summary else ["summary"]
    if missing:
        raise ValueError(f"the docstring of {fn.__name__} lacks: {', '.join(missing)}")
    title, formula = _one_line(title).rstrip("."), "\n".join(formulas)
    return {"title": title, "formula": formula, "summary": summary, "shapes": shapes, **fields}


def _one_line(text: str) -> str:
    return " ".join(text.split())
