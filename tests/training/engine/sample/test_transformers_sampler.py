"""The sampler of transformers: repeatable by completion, honest log-probs, whatever else is in the batch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from transformers import LlamaForCausalLM

from tests.training.engine.sample.conftest import END
from training.engine.batch import make_batch
from training.engine.errors import Cancelled
from training.engine.samplers.generate import TransformersSampler, _nucleus
from training.engine.samplers.types import Request, Sample, Sampling, seed_of
from training.engine.scorer import score, token_logps
from training.engine.stop import Stop
from training.engine.trees import PromptTree


@pytest.fixture(scope="module")
def sampler(tiny_policy_dir: Path) -> TransformersSampler:
    return TransformersSampler(tiny_policy_dir, ends=[END])


@pytest.fixture(scope="module")
def drawn(sampler: TransformersSampler, requests: list[Request]) -> list[Sample]:
    return sampler.sample(requests, Sampling(n=3, max_tokens=24, seed=4), stop=Stop())


def trees_of(samples: Sequence[Sample], requests: Sequence[Request]) -> list[PromptTree]:
    prompts = {request.prompt_id: request.token_ids for request in requests}
    return [PromptTree(0, prompts[one.prompt_id], (one.token_ids,), {}) for one in samples]


def test_completions_come_in_the_order_of_prompts_and_indices(drawn: list[Sample]) -> None:
    assert [(one.prompt_id, one.index) for one in drawn] == [(f"p{n}", i) for n in range(6) for i in range(3)]


def test_every_completion_has_a_seed_of_its_own(drawn: list[Sample]) -> None:
    assert len({one.seed for one in drawn}) == len(drawn)
    assert len({one.token_ids for one in drawn}) == len(drawn)


def test_a_completion_does_not_depend_on_its_batch(
    sampler: TransformersSampler, requests: list[Request], drawn: list[Sample]
) -> None:
    alone = sampler.sample([requests[1]], Sampling(n=2, max_tokens=24, seed=4), stop=Stop())
    assert [one.token_ids for one in alone] == [one.token_ids for one in drawn if one.prompt_id == "p1"][:2]


def test_another_seed_draws_something_else(
    sampler: TransformersSampler, requests: list[Request], drawn: list[Sample]
) -> None:
    other = sampler.sample(requests, Sampling(n=3, max_tokens=24, seed=5), stop=Stop())
    assert [one.token_ids for one in other] != [one.token_ids for one in drawn]


def test_log_probs_are_those_of_the_scorer(
    tiny_policy: LlamaForCausalLM, requests: list[Request], drawn: list[Sample]
) -> None:
    batch = make_batch(trees_of(drawn, requests), layout="padded", pad_id=0, device="cpu")
    with torch.no_grad():
        torch.testing.assert_close(
            torch.tensor([one.logprob for one in drawn]), score(tiny_policy, batch).logp, atol=1e-3, rtol=0
        )
        each = torch.tensor([logp for one in drawn for logp in one.token_logprobs])
        torch.testing.assert_close(each, token_logps(tiny_policy, batch), atol=1e-4, rtol=0)


def test_log_probs_stay_those_of_the_policy_at_another_temperature(
    sampler: TransformersSampler, tiny_policy: LlamaForCausalLM, requests: list[Request]
) -> None:
    hot = sampler.sample(requests, Sampling(n=1, temperature=0.5, top_p=0.8, max_tokens=8), stop=Stop())
    batch = make_batch(trees_of(hot, requests), layout="padded", pad_id=0, device="cpu")
    with torch.no_grad():
        expected = score(tiny_policy, batch).logp
    torch.testing.assert_close(torch.tensor([one.logprob for one in hot]), expected, atol=1e-3, rtol=0)


def test_completions_stop_at_the_end_token_or_are_marked_as_cut(drawn: list[Sample]) -> None:
    for one in drawn:
        assert END not in one.token_ids[:-1]
        assert one.finish_reason == ("stop" if one.token_ids[-1] == END else "length")
        assert one.finish_reason == "stop" or len(one.token_ids) == 24
        assert "<|end|>" not in one.text
        assert len(one.token_logprobs) == len(one.token_ids)


def test_draws_follow_the_probabilities_of_the_policy(
    sampler: TransformersSampler, tiny_policy: LlamaForCausalLM, requests: list[Request]
) -> None:
    samples = sampler.sample([requests[0]], Sampling(n=2000, max_tokens=1, seed=1), stop=Stop())
    counts = torch.bincount(torch.tensor([one.token_ids[0] for one in samples]), minlength=400)
    with torch.no_grad():
        expected = tiny_policy(torch.tensor([requests[0].token_ids])).logits[0, -1].softmax(-1)
    # Total variation of 2,000 draws over 400 tokens from their own distribution stays below 0.2.
    assert 0.5 * (counts / 2000 - expected).abs().sum() < 0.2


def test_a_small_nucleus_is_greedy(sampler: TransformersSampler, requests: list[Request]) -> None:
    narrow = sampler.sample(requests, Sampling(n=1, top_p=1e-6, max_tokens=6), stop=Stop())
    greedy = sampler.sample(requests, Sampling(n=1, temperature=0.0, max_tokens=6), stop=Stop())
    assert [one.token_ids for one in narrow] == [one.token_ids for one in greedy]


def test_the_nucleus_is_the_smallest_set_with_the_mass() -> None:
    kept = _nucleus(torch.tensor([[0.1, 0.5, 0.15, 0.25], [0.97, 0.01, 0.01, 0.01]]), 0.7)
    assert torch.equal(kept, torch.tensor([[0.0, 0.5, 0.0, 0.25], [0.97, 0.0, 0.0, 0.0]]))


def test_new_weights_give_new_answers(tiny_policy_dir: Path, other_policy_dir: Path, requests: list[Request]) -> None:
    greedy = Sampling(n=1, temperature=0.0, max_tokens=12)
    sampler = TransformersSampler(tiny_policy_dir, ends=[END])
    before = sampler.sample(requests, greedy, stop=Stop())
    sampler.reload(other_policy_dir)
    after = sampler.sample(requests, greedy, stop=Stop())
    fresh = TransformersSampler(other_policy_dir, ends=[END]).sample(requests, greedy, stop=Stop())
    assert after == fresh
    assert [one.token_ids for one in after] != [one.token_ids for one in before]


def test_a_stop_ends_the_work_between_two_tokens(sampler: TransformersSampler, requests: list[Request]) -> None:
    stop = Stop()
    stop.requested = True
    with pytest.raises(Cancelled):
        sampler.sample(requests, Sampling(), stop=stop)


def test_seeds_depend_on_run_prompt_and_index_alone() -> None:
    seeds = {seed_of(run, prompt, index) for run in (0, 1) for prompt in ("a", "b", "1:a") for index in (0, 1)}
    assert len(seeds) == 12
    assert max(seeds) < 2**48
    assert seed_of(0, "a", 1) == seed_of(0, "a", 1)
