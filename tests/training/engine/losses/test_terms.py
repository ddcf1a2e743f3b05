"""The setting `plus`: what may be added to a method, and what the sum is."""

from __future__ import annotations

import re

import pytest
import torch

from training.engine.errors import EngineError
from training.engine.losses import LOSSES, Scores
from training.engine.objectives.pairwise import PairwiseObjective
from training.engine.objectives.unpaired import UnpairedObjective
from training.engine.terms import read_terms
from training.engine.trees import PromptTree

LOGP = torch.tensor([-12.5, -11.0, -3.25, -9.5]).double()
REFERENCE = torch.tensor([-13.0, -10.0, -4.0, -8.0]).double()
SCORES = Scores(LOGP, torch.tensor([5.0, 4.0, 2.0, 6.0]).double(), REFERENCE)
PAIRS = [
    PromptTree(0, (1,), ((2, 3), (4, 3)), {"weight": 1.0}),
    PromptTree(1, (1,), ((2, 3), (4, 3)), {"weight": 2.0, "p": 0.7}),
]


def read(text, method="dpo", **config):
    _, *added = read_terms(LOSSES[method], {"plus": text, **config})
    return [(one.weight, one.method.name) for one in added]


def settings(text, method="dpo", **config):
    """The settings of the only term of `plus`."""
    _, term = read_terms(LOSSES[method], {"plus": text, **config})
    return term.settings


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("", []),
        ("sft", [(1.0, "sft")]),
        ("0.2*sft + 0.5*ipo", [(0.2, "sft"), (0.5, "ipo")]),
        (" .25 * sft+3*nca", [(0.25, "sft"), (3.0, "nca")]),
        ("0.5*ipo(tau=0.2) + sft()", [(0.5, "ipo"), (1.0, "sft")]),
        ("1.*simpo", [(1.0, "simpo")]),
    ],
)
def test_terms_are_a_number_times_a_method(text, terms):
    assert read(text) == terms


@pytest.mark.parametrize(
    "text",
    [
        "0.2*sfd", "sft*0.2", "-1*sft", "0.2 sft", "0.2*", "nan*sft", "1e3*sft", "sft + + ipo", "+ipo", "sft+",
        "ipo(tau=0.2", "ipo)", "ipo[tau=0.2]", "(ipo)",
    ],
)  # fmt: skip
def test_what_is_no_term_is_refused_with_an_example_of_one(text):
    with pytest.raises(EngineError, match=r"such as 0\.2\*sft") as refused:
        read(text)
    assert refused.value.field == "config.plus"


@pytest.mark.parametrize(
    ("text", "method", "cure"),
    [
        ("dpo", "dpo", r"Possible are .*cdpo.*sft"),
        ("0.5*kto", "dpo", "Possible are"),
        ("0.5*bco", "kto", r"Possible are .*npo, sft"),
        ("0.5*aot", "dpo", "Possible are"),
        ("sft", "paft", "leave plus empty"),
        ("ipo", "tr_dpo", "leave plus empty"),
        ("sft", "bradley_terry", "cannot be added"),
        ("dpo", "sft", "leave plus empty"),
    ],
)
def test_what_does_not_go_together_is_refused_with_what_does(text, method, cure):
    with pytest.raises(EngineError, match=cure):
        read(text, method)


@pytest.mark.parametrize(
    ("text", "method", "trains"),
    [
        ("plackett_luce", "infonca", "policy"),
        ("0.5*nca_list", "plackett_luce", "policy"),
        ("0.5*all_pairs", "plackett_luce", "reward"),
        ("plackett_luce", "all_pairs", "reward"),
    ],
)
def test_a_loss_for_policies_and_rewards_goes_with_what_the_run_trains(text, method, trains):
    config = {"trains": trains} if method == "plackett_luce" else {}
    assert len(read(text, method, **config)) == 1


@pytest.mark.parametrize(("text", "trains"), [("nca_list", "reward"), ("sft", "reward"), ("all_pairs", "policy")])
def test_a_loss_for_the_one_is_no_term_of_a_run_that_trains_the_other(text, trains):
    with pytest.raises(EngineError, match="cannot be added to plackett_luce"):
        read(text, "plackett_luce", trains=trains)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("ipo(tau=0.2)", {"tau": 0.2}),
        ("2*nca( beta = 1 )", {"beta": 1.0}),
        ("f_dpo(divergence=js)", {"beta": 0.3, "divergence": "js", "alpha": 0.5}),
        ("f_dpo(divergence=alpha, alpha=.25,beta=1e-2)", {"beta": 0.01, "divergence": "alpha", "alpha": 0.25}),
        ("bco_pair(delta=-0.5)", {"beta": 0.3, "delta": -0.5}),
    ],
)
def test_a_term_takes_the_settings_in_its_brackets(text, told):
    assert settings(text, beta=0.3) == told


@pytest.mark.parametrize(
    ("text", "cure"),
    [
        ("ipo(beta=0.1)", "'beta=0.1' is no setting of ipo. It has tau; write name=value"),
        ("sft(beta=0.1)", "'beta=0.1' is no setting of sft. It has none; write name=value"),
        ("ipo(0.1)", "'0.1' is no setting of ipo"),
        ("ipo(tau=0.1,)", "'' is no setting of ipo"),
        ("ipo(tau=0)", "in ipo, 'tau' must be at least 1e-06; it is 0.0"),
        ("ipo(tau=nan)", "in ipo, 'tau' must be a finite number"),
        ("ipo(tau=small)", "in ipo, 'tau' must be a finite number; it is \"small\""),
        ("f_dpo(divergence=kl)", "in f_dpo, 'divergence' must be one of 'reverse_kl'"),
    ],
)
def test_a_setting_that_a_term_does_not_have_or_allow_is_refused(text, cure):
    with pytest.raises(EngineError, match=re.escape(cure)) as refused:
        read(text)
    assert refused.value.field == "config.plus"


@pytest.mark.parametrize(
    ("text", "method", "config", "told"),
    [
        # What the run says of a setting that the term has too, and means the same by.
        ("cdpo", "robust_dpo", {"beta": 0.7, "label_smoothing": 0.3}, {"beta": 0.7, "label_smoothing": 0.3}),
        ("alpha_po", "simpo", {"beta": 2.5}, {"beta": 2.5, "alpha": 0.25, "gamma_beta_ratio": 0.5}),
        ("nca_list", "infonca", {"alpha": 0.1}, {"alpha": 0.1}),
        # The same name for something else: no smoothing would be infinite here, and α is nats per token there.
        ("exo", "cdpo", {"label_smoothing": 0.0}, {"beta": 0.1, "label_smoothing": 1e-3}),
        ("r_dpo", "f_dpo", {"alpha": 0.9}, {"beta": 0.1, "alpha": 0.05}),
        ("discopop", "ipo", {"tau": 3.0}, {"beta": 0.1, "tau": 0.05}),
        # Sums and means per token: a τ of .1 asks for 5 nats of the whole there, for 5 nats of every token here.
        ("ipo_norm", "ipo", {"tau": 0.1}, {"tau": 1.0}),
        ("dpo", "dpo_norm", {"beta": 5.0}, {"beta": 0.1}),
    ],
)
def test_a_term_shares_the_settings_that_mean_the_same(text, method, config, told):
    assert settings(text, method, **config) == told


def test_an_objective_of_pairs_with_terms_is_their_weighted_sum():
    def losses(method, **config):
        return PairwiseObjective(method, config).losses(PAIRS, SCORES, None)

    whole = losses("dpo", beta=0.3, plus="0.5*ipo + 0.25*nca + 0.2*simpo + 0.1*sft")
    likelihood = -SCORES[0::2].mean_logp * torch.tensor([1.0, 2.0])
    # β is the run's where a term has one of sums; τ and what SimPO knows of means are their defaults.
    parts = losses("dpo", beta=0.3) + 0.5 * losses("ipo") + 0.25 * losses("nca", beta=0.3)
    parts = parts + 0.2 * losses("simpo") + 0.1 * likelihood
    torch.testing.assert_close(whole, parts, rtol=1e-12, atol=0)


def test_an_objective_of_thumbs_with_terms_imitates_what_is_liked():
    trees = [PromptTree(n, (1,), ((2, 3),), {"weight": 1.0, "label": n % 2 == 0}) for n in range(4)]

    def losses(method, **config):
        return UnpairedObjective(method, config).losses(trees, SCORES, torch.tensor(0.5))

    liked = torch.tensor([True, False, True, False])
    parts = losses("kto") + 0.5 * losses("npo") + 0.2 * torch.where(liked, -SCORES.mean_logp, 0.0)
    torch.testing.assert_close(losses("kto", plus="0.5*npo+0.2*sft"), parts, rtol=1e-12, atol=0)


def test_a_term_brings_its_needs_with_it():
    objective = PairwiseObjective("simpo", {"plus": "0.5*ld_dpo + 0.1*wpo"})
    assert objective.needs_reference
    assert objective.extras == {"prefix", "certainty"}
    assert not PairwiseObjective("simpo", {"plus": "0.1*sft"}).needs_reference
