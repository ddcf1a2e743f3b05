import hashlib

import pytest

from exports.recipe import RecipeError, read_recipe
from exports.splits import split_of


def test_an_empty_recipe_is_a_recipe_and_round_trips():
    recipe = read_recipe({})
    assert read_recipe(recipe.as_json()) == recipe


def test_groups_and_slices_round_trip():
    recipe = read_recipe({"slice": "category", "groups": {"experts": ["kim", "lee"], "crowd": ["w1"]}})
    assert read_recipe(recipe.as_json()) == recipe


@pytest.mark.parametrize(
    ("recipe", "field"),
    [
        ({"aggregation": "median"}, "aggregation"),
        ({"min_judgements": 0}, "min_judgements"),
        ({"min_judgements": True}, "min_judgements"),
        ({"validation": 1.5}, "validation"),
        ({"validation": 0.5, "test": 0.5}, "test"),
        ({"demonstrations": []}, "demonstrations"),
        ({"demonstrations": ["luck"]}, "demonstrations"),
        ({"over_quota": "yes"}, "over_quota"),
        ({"slice": 3}, "slice"),
        ({"groups": ["kim"]}, "groups"),
        ({"groups": {"": ["kim"]}}, "groups"),
        ({"groups": {"experts": []}}, "groups"),
        ({"groups": {"experts": [7]}}, "groups"),
        ({"groups": {"experts": ["kim"], "crowd": ["kim"]}}, "groups"),
        ({"colour": "red"}, "colour"),
        ([], "recipe"),
    ],
)
def test_a_bad_recipe_is_refused_with_the_key_named(recipe, field):
    with pytest.raises(RecipeError) as error:
        read_recipe(recipe)
    assert error.value.field == field


def test_splits_have_about_the_shares_asked_for_and_never_move():
    prompts = [hashlib.sha256(str(n).encode()).hexdigest() for n in range(4000)]
    splits = [split_of(prompt, validation=0.1, test=0.2, seed=0) for prompt in prompts]
    assert abs(splits.count("test") / 4000 - 0.2) < 0.03
    assert abs(splits.count("validation") / 4000 - 0.1) < 0.03
    assert splits == [split_of(prompt, validation=0.1, test=0.2, seed=0) for prompt in prompts]
    assert splits != [split_of(prompt, validation=0.1, test=0.2, seed=1) for prompt in prompts]
