"""The recipe of a dataset: which judgements count, how several become one, and how prompts are split."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

AGGREGATIONS = ("majority", "soft")
JUDGES = ("all", "people")
DEMONSTRATIONS = ("edits", "chosen", "thumbs_up")
GROUP_NAME_LENGTH = 60


class RecipeError(ValueError):
    """A recipe that cannot be followed: which key, and what to write instead."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message


@dataclass(frozen=True, slots=True)
class Recipe:
    """Every key has a default, so that `{}` is a recipe.

    aggregation     majority: one vote per annotator, the winner takes the pair, an even split is left out.
                    soft: every pair is kept with `p`, the share of votes for the chosen side; a tie is half a vote
                    each. Lists do the same with each pair of their completions, and rank them by the votes
    min_judgements  items with fewer counted judgements are left out.
    judges          all, or people: leaves out judgements by users that are marked as machines.
    over_quota      also count judgements that arrived after their lease had passed to somebody else.
    pairs_as_labels binary only: the better completion of a pair is a thumbs up, the worse a thumbs down,
                    and “both bad” two thumbs down.
    demonstrations  demonstration only: corrections by people, chosen completions, completions with a thumbs up.
    slice           a key that rows brought beside their content, such as “category”: its value becomes the column
                    `slice`, and reward models are measured on each value by itself.
    groups          pairs and thumbs: names of groups, and the annotators in each. An item becomes a row for every group
                    that judged it, with the column `group`, and one without it for what all others said; a reward
                    model then learns what the groups share and what sets them apart.
    validation, test, seed: the share of prompts in each split, and what the split is drawn from.
    """

    aggregation: str = "majority"
    min_judgements: int = 1
    judges: str = "all"
    over_quota: bool = False
    pairs_as_labels: bool = False
    demonstrations: tuple[str, ...] = ("edits",)
    slice: str = ""
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    validation: float = 0.1
    test: float = 0.1
    seed: int = 0

    def as_json(self) -> dict[str, Any]:
        groups = {name: list(annotators) for name, annotators in self.groups.items()}
        return asdict(self) | {"demonstrations": list(self.demonstrations), "groups": groups}


def read_recipe(data: Any) -> Recipe:
    """A checked recipe. Raises RecipeError, which names the key and the cure."""
    if not isinstance(data, dict):
        raise RecipeError("recipe", 'write an object such as {"aggregation": "soft"}.')
    known = {field.name for field in fields(Recipe)}
    if unknown := sorted(set(data) - known):
        raise RecipeError(unknown[0], f"is not part of a recipe. Known are {', '.join(sorted(known))}.")
    readers = {"demonstrations": _words, "groups": _groups}
    recipe = Recipe(**data | {name: read(data[name]) for name, read in readers.items() if name in data})
    _one_of("aggregation", recipe.aggregation, AGGREGATIONS)
    _one_of("judges", recipe.judges, JUDGES)
    for word in recipe.demonstrations:
        _one_of("demonstrations", word, DEMONSTRATIONS)
    _whole("min_judgements", recipe.min_judgements, minimum=1)
    _whole("seed", recipe.seed, minimum=0)
    if not isinstance(recipe.slice, str):
        raise RecipeError("slice", "write the name of a key, such as “category”.")
    for name in ("over_quota", "pairs_as_labels"):
        if not isinstance(getattr(recipe, name), bool):
            raise RecipeError(name, "write true or false.")
    for name in ("validation", "test"):
        share = getattr(recipe, name)
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share < 1:
            raise RecipeError(name, "write a share of the prompts from 0 up to, but not including, 1.")
    if recipe.validation + recipe.test >= 1:
        raise RecipeError("test", "validation and test together leave nothing to train on; make them smaller.")
    return recipe


def _words(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not value:
        raise RecipeError("demonstrations", f"write a list of at least one of {', '.join(DEMONSTRATIONS)}.")
    return tuple(dict.fromkeys(value))


def _groups(value: Any) -> dict[str, tuple[str, ...]]:
    example = 'such as {"experts": ["kim", "lee"], "crowd": ["w1"]}'
    if not isinstance(value, dict):
        raise RecipeError("groups", f"write the annotators of each group, {example}.")
    for name, annotators in value.items():
        if not name.strip() or len(name) > GROUP_NAME_LENGTH:
            raise RecipeError("groups", f"the name of a group has 1 to {GROUP_NAME_LENGTH} characters.")
        if not isinstance(annotators, list | tuple) or not annotators or not all(type(a) is str for a in annotators):
            raise RecipeError("groups", f"“{name}” needs a list of the names of annotators, {example}.")
    often = Counter(annotator for annotators in value.values() for annotator in annotators)
    if twice := [annotator for annotator, count in often.items() if count > 1]:
        raise RecipeError("groups", f"“{twice[0]}” stands there twice; an annotator belongs to one group.")
    return {name: tuple(annotators) for name, annotators in value.items()}


def _one_of(name: str, value: Any, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise RecipeError(name, f"is {value!r}; choose from {', '.join(choices)}.")


def _whole(name: str, value: Any, *, minimum: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
        raise RecipeError(name, f"write a whole number of at least {minimum}.")
