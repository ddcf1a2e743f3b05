"""The table of methods: everything that is asked for is there, described, and readable without torch."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from dataclasses import replace

import pytest

from tests.training.engine.losses import test_contrasts, test_pairwise, test_reference_free, test_unpaired
from tests.training.engine.losses.helpers import pair
from training.engine.losses import LOSSES, Scores
from training.engine.methods import METHODS, method

NAMES = {
    "pairwise": [
        "dpo", "cdpo", "robust_dpo", "soft_dpo", "odpo", "hinge", "ipo", "ipo_norm", "exo", "nca", "bco_pair",
        "sppo_hard", "apo_zero", "apo_down", "r_dpo", "ld_dpo", "dpo_norm", "f_dpo", "rpo", "reward_aware_rpo", "wpo",
        "aot", "discopop", "tr_dpo", "simpo", "cpo", "orpo", "slic", "alpha_po", "paft",
    ],
    "unpaired": ["kto", "bco", "apo_zero_unpaired", "npo"],
    "listwise": ["plackett_luce", "all_pairs", "infonca", "nca_list", "exo_list", "rnce", "mc_po"],
    "demonstration": ["sft", "conditional_sft"],
    "reward": ["bradley_terry", "davidson", "rao_kupper", "preference_model"],
    "rating": ["regression"],
}  # fmt: skip
WITHOUT_REFERENCE = {"simpo", "cpo", "orpo", "slic", "alpha_po", "sft", "conditional_sft", "all_pairs", "regression"}


@pytest.mark.parametrize(("shape", "name"), [(shape, name) for shape, names in NAMES.items() for name in names])
def test_a_method_is_in_the_table_with_its_shape_and_its_need_of_a_reference(shape, name):
    assert LOSSES[name].shape == shape
    assert LOSSES[name].needs_reference is (name not in WITHOUT_REFERENCE and shape != "reward")


@pytest.mark.parametrize("name", NAMES["pairwise"])
def test_what_compares_means_per_token_does_not_see_how_many_tokens_there_are(name):
    def losses(times):
        sides = (Scores(times * one.logp, times * one.length, times * one.ref_logp) for one in pair())
        wide = (
            replace(one, prefix_logp=one.logp, ref_prefix_logp=one.ref_logp, certainty=0 * one.logp) for one in sides
        )
        return LOSSES[name].fn(*wide)

    assert LOSSES[name].per_token is bool((losses(1) - losses(2)).abs().max() < 1e-12)


def test_the_table_of_losses_is_the_table_of_methods():
    assert LOSSES is METHODS


def test_every_loss_of_policies_over_pairs_thumbs_and_demonstrations_has_a_derivation():
    derived = {
        *test_pairwise.DERIVATIONS, *test_contrasts.DERIVATIONS, *test_reference_free.DERIVATIONS,
        *test_unpaired.DERIVATIONS, *test_unpaired.IMITATIONS,
    }  # fmt: skip
    shapes = {"pairwise", "unpaired", "demonstration"}
    assert derived == {name for name, one in LOSSES.items() if one.shape in shapes}


@pytest.mark.parametrize("name", LOSSES)
def test_a_method_is_described_in_full(name):
    one = LOSSES[name]
    for part in (one.title, one.formula, one.summary, one.shapes, one.use, one.pitfall, one.paper):
        assert part.strip() == part != ""
    assert "\n" not in one.title + one.summary + one.shapes + one.use + one.pitfall + one.paper
    # Pages begin sentences with a capital, and Δ is not δ.
    assert all(re.match(r"[A-Za-z]+[\s,-]", said) for said in (one.use, one.pitfall))
    assert "[" not in one.summary, "shapes are for programmers and stand at the end of the prose"
    assert 1e-8 < one.learning_rate < 1e-3
    assert one.passed <= set(inspect.signature(one.fn).parameters)


@pytest.mark.parametrize(
    ("name", "parameter"),
    [pytest.param(name, each, id=f"{name}-{each.name}") for name, one in LOSSES.items() for each in one.parameters],
)
def test_a_setting_has_help_and_a_default_within_its_bounds(name, parameter):
    assert parameter.help.endswith(".")
    if isinstance(parameter.default, str):
        assert parameter.choices is None or parameter.default in parameter.choices
        return
    assert parameter.column or parameter.name == "delta" or parameter.minimum is not None
    if parameter.minimum is not None:
        assert parameter.minimum <= parameter.default
    if parameter.maximum is not None:
        assert parameter.default <= parameter.maximum


@pytest.mark.parametrize(
    ("setting", "names"),
    [
        ("label_smoothing", {"cdpo", "robust_dpo", "exo"}),
        ("p", {"soft_dpo"}),
        ("offset", {"odpo"}),
        ("gap", {"reward_aware_rpo"}),
        ("eta", {"reward_aware_rpo"}),
        ("direction", {"reward_aware_rpo"}),
        ("tau", {"ipo", "ipo_norm", "discopop"}),
        ("delta", {"bco_pair"}),
        ("alpha", {"r_dpo", "alpha_po", "f_dpo"}),
        ("divergence", {"f_dpo"}),
        ("ld_alpha", {"ld_dpo"}),
        ("nll_weight", {"rpo", "cpo", "slic"}),
        ("gamma_beta_ratio", {"simpo", "alpha_po"}),
        ("odds_weight", {"orpo"}),
        ("margin", {"slic"}),
        ("desirable_weight", {"kto"}),
        ("undesirable_weight", {"kto"}),
    ],
)
def test_a_setting_belongs_to_the_methods_that_know_it(setting, names):
    among = [*NAMES["pairwise"], *NAMES["unpaired"], *NAMES["demonstration"]]
    assert {name for name in among if setting in LOSSES[name].defaults()} == names


def test_what_rows_may_say_one_by_one_is_named_by_its_column():
    columns = {each.name: each.column for one in LOSSES.values() for each in one.parameters if each.column}
    assert columns == {"p": "p", "offset": "offset", "gap": "gap"}


def test_the_table_loads_without_torch():
    code = (
        "import sys, training.engine.losses, training.engine.terms;"
        "loaded = {'torch', 'numpy', 'transformers', 'safetensors', 'pyarrow'} & set(sys.modules);"
        "print(sorted(loaded))"
    )
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert found.stdout == "[]\n"


DOCSTRING = """A title.

    -x

Does something.

Use: Now and then.
Pitfall: It is no good.
Paper: none
"""


def enter(docstring=DOCSTRING, name="not_in_the_table", fn=lambda chosen, rejected: chosen):
    fn.__doc__, fn.__name__ = docstring, name
    return method(shape="pairwise", learning_rate=1e-6)(fn)


@pytest.mark.parametrize(
    ("part", "lacking"),
    [
        (DOCSTRING, "title"),
        ("A title.", "title$"),
        ("    -x\n", "indented formula"),
        ("Does something.", "summary"),
        ("Use: Now and then.", "use"),
        ("Pitfall: It is no good.", "pitfall"),
        ("Paper: none", "paper"),
    ],
)
def test_a_docstring_without_one_of_its_parts_is_refused(part, lacking):
    with pytest.raises(ValueError, match=f"lacks: .*{lacking}"):
        enter(DOCSTRING.replace(part, ""))
    assert "not_in_the_table" not in LOSSES


def test_a_setting_that_nobody_explains_is_refused():
    with pytest.raises(ValueError, match="'zeal'"):
        enter(fn=lambda chosen, rejected, *, zeal=1.0: chosen)


def test_a_setting_without_a_default_is_refused():
    with pytest.raises(ValueError, match="'beta' needs a default"):
        enter(fn=lambda chosen, rejected, *, beta: chosen)


def test_a_name_that_is_taken_is_refused():
    with pytest.raises(ValueError, match="'dpo' already"):
        enter(name="dpo")
