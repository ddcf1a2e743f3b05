"""Policies move towards a reward that is known: on prompts they were not trained on, and through flipped labels."""

from __future__ import annotations

import random
from itertools import product
from statistics import fmean, stdev

import pytest
import torch
from torch.nn.functional import logsigmoid
from transformers import LlamaConfig, LlamaForCausalLM

from training.engine.baselines import mismatched_trees
from training.engine.losses import LOSSES
from training.engine.objectives import Examples, make_objective
from training.engine.passes import Passes
from training.engine.trainer import Settings, Trainer
from training.engine.trees import PromptTree

pytestmark = pytest.mark.slow

END, ANSWER_TOKENS = 3, range(10, 34)
# Prompts of three words; those with an odd sum are held out.
PROMPTS, HELD_OUT = (
    [words for words in product(range(34, 40), repeat=3) if sum(words) % 2 == remainder] for remainder in (0, 1)
)
SEEDS = (100, 101, 102, 103)


class World:
    """Answers are worth the sum of the worth of their three tokens."""

    def __init__(self, seed):
        self.draw = random.Random(seed)
        self.quality = {token: self.draw.gauss(0, 1) for token in ANSWER_TOKENS}

    def worth(self, answer):
        return sum(self.quality[token] for token in answer[:-1])

    def tree(self, row, completions, prompts):
        """Answers to one of these prompts."""
        answers = tuple((*self.draw.sample(ANSWER_TOKENS, 3), END) for _ in range(completions))
        return PromptTree(row, (1, *self.draw.choice(prompts)), answers, {"p": 1.0, "weight": 1.0})

    def pairs(self, count, prompts=PROMPTS, *, flipped=0.0):
        """Pairs whose chosen answer is worth more, but for a share of them whose labels are flipped."""
        found = []
        for row in range(count):
            tree = self.tree(row, 2, prompts)
            answers = sorted(tree.completions, key=self.worth, reverse=self.draw.random() >= flipped)
            found.append(PromptTree(row, tree.prompt, tuple(answers), tree.targets))
        return found

    def expected_reward(self, policy, trees):
        """Mean over prompts of the worth that the policy expects when it chooses among the prompt's answers."""
        worth = torch.tensor([[self.worth(answer) for answer in tree.completions] for tree in trees])
        return float((logps(policy, trees).softmax(1) * worth).sum(1).mean())


def new_policy():
    """A random Llama of 40 words; the same whenever it is asked for."""
    config = LlamaConfig(
        vocab_size=40,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=64,
        initializer_range=0.1,
        tie_word_embeddings=False,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return LlamaForCausalLM(config).eval()


def passes(policy, objective):
    return Passes(policy, objective, layout="tree", dtype="float32", pad_id=0)


def logps(policy, trees):
    """Log-probs, one row per prompt."""
    return passes(policy, make_objective("dpo")).logps(trees).view(len(trees), -1)


def thumbs(pairs):
    return [
        PromptTree(2 * tree.row + index, tree.prompt, (answer,), {"label": index == 0, "weight": 1.0})
        for tree in pairs
        for index, answer in enumerate(tree.completions)
    ]


def trained(method, pairs, *, seed=0, config=None, **settings):
    """A policy that learnt from these pairs, or from the thumbs in them."""
    policy, objective = new_policy(), make_objective(method, config)
    trees = thumbs(pairs) if LOSSES[method].shape == "unpaired" else pairs
    start = passes(policy, objective)
    reference = list(start.logps(trees).split([len(tree.completions) for tree in trees]))
    examples = Examples(trees, reference)
    if LOSSES[method].baseline == "kl":
        others = mismatched_trees(trees, max_length=64)
        known = [None if tree is None else start.logps([tree]) for tree in others]
        examples = Examples(trees, reference, others, known)
    settings = Settings(seed=seed, layout="tree", batch_size=16, warmup=0.0, **settings)
    Trainer(model=policy, objective=objective, examples=examples, settings=settings, pad_id=0).train()
    return policy


@pytest.mark.parametrize("method", ["dpo", "ipo", "kto", "simpo", "orpo", "cpo"])
def test_a_known_reward_rises_on_held_out_prompts(method):
    gains = []
    for world in map(World, SEEDS):
        pairs, held_out = world.pairs(192), [world.tree(row, 8, HELD_OUT) for row in range(40)]
        policy = trained(method, pairs, epochs=2, learning_rate=2e-3)
        gains.append(world.expected_reward(policy, held_out) - world.expected_reward(new_policy(), held_out))
    # The best of eight answers is worth about three more than a random one; learning from flipped pairs loses a half.
    assert min(gains) > 0.1
    assert fmean(gains) > 0.3


def clean_loss(method, seed, *, count, epochs):
    """-log of the probability that a policy gives to the right order of held-out pairs, after it learnt from pairs of
    which a fifth are flipped; the mean over pairs."""
    world = World(seed)
    noisy, clean = world.pairs(count, flipped=0.2), world.pairs(300, HELD_OUT)
    config = {"beta": 1.0} | ({} if method == "dpo" else {"label_smoothing": 0.2})
    policy = trained(method, noisy, seed=seed, config=config, epochs=epochs, learning_rate=2e-3)
    ratio = logps(policy, clean) - logps(new_policy(), clean)
    return float(-logsigmoid(ratio[:, 0] - ratio[:, 1]).mean())


# With x = βD, cdpo's loss is DPO's + εx, a price on every margin, and robust_dpo's is DPO's - εx / (1 - 2ε), a bounty.
# They stand on the two sides of DPO, and no setting was found in which both beat it. So nothing but how often a pair is
# seen differs between the two here: 120 steps of 16 pairs, the same β and learning rate.
@pytest.mark.parametrize(
    ("method", "count", "epochs"),
    [
        # Few pairs again and again: DPO learns the flipped ones by heart, and its margins are too wide.
        ("cdpo", 96, 20),
        # Every pair once: DPO halts at the margin of the noisy labels, which is too narrow for the clean ones.
        ("robust_dpo", 1920, 1),
    ],
)
def test_what_expects_flipped_labels_beats_dpo_when_a_fifth_are_flipped(method, count, epochs):
    gains = [
        clean_loss("dpo", seed, count=count, epochs=epochs) - clean_loss(method, seed, count=count, epochs=epochs)
        for seed in SEEDS
    ]
    assert min(gains) > 0
    assert fmean(gains) > max(0.05, 3 * stdev(gains) / len(gains) ** 0.5)
