"""Losses over completions that are to be imitated."""

from __future__ import annotations

from typing import TYPE_CHECKING

from training.engine.losses.scores import Scores, log_sigmoid
from training.engine.methods import Parameter, method

if TYPE_CHECKING:
    from torch import Tensor


@method(shape="demonstration", learning_rate=2e-5)
def sft(scores: Scores) -> Tensor:
    """Supervised fine-tuning.

        -log π(y|x)

    Imitates the demonstrations. Scores [N] → [N], summed over the tokens of each completion; the trainer divides by the
    tokens of the step, which is the usual mean per token.

    Use: Demonstrations, before any preference method.
    Pitfall: More than a few epochs memorise the demonstrations; watch the held-out loss.
    Paper: arXiv:2203.02155, section 3.5
    """
    return -scores.logp


@method(
    shape="demonstration",
    dataset_kind="binary",
    learning_rate=2e-5,
    parameters=(
        Parameter("good", "<|good|>", "Text behind the prompt of a completion with a thumb up."),
        Parameter("bad", "<|bad|>", "Text behind the prompt of a completion with a thumb down."),
    ),
)
def conditional_sft(scores: Scores) -> Tensor:
    """Conditional supervised fine-tuning.

        -log π(y|x, c),  c = good or bad by the label

    Imitates good and bad completions alike, each behind a word that says which it is; the trained policy is asked
    behind the good one, which its chat template adds. Scores [N] → [N], summed over tokens.

    Use: Thumbs, when bad examples should teach too and a preference method is not stable.
    Pitfall: The policy is only as good as its condition: asked without it, it writes what all the data is like. A
        condition that the tokenizer splits, with the same last token for good and bad, is learnt slowly: take words.
    Paper: arXiv:2308.12050, section 3; arXiv:2310.05344
    """
    return -scores.logp


@method(
    shape="pairwise",
    reference=True,
    learning_rate=1e-5,
    parameters=(
        Parameter("sparsity", 1e-4, "Weight of the L1 norm of the demonstrations' adapter.", minimum=0.0),
        Parameter("merge_weight", 1.0, "Weight of the demonstrations' adapter in the merged model.", minimum=0.0),
    ),
)
def paft(chosen: Scores, rejected: Scores, *, beta: float = 0.1, demonstrations: Scores | None = None) -> Tensor:
    """Parallel SFT and preference adapters.

        -log π_a(y_w|x) / n_w  +  -log σ(βD_b);  merged: θ + w·Δ_a + Δ_b

    Two adapters on one base, a for the chosen completions as demonstrations (kept sparse by an L1 norm) and b for DPO,
    trained side by side and added at the end, so that neither unlearns the other. Scores [B] → [B];
    ``demonstrations`` are the chosen completions as adapter a scores them, else as the policy does.

    Use: Instead of SFT followed by DPO, when the second loses what the first taught.
    Pitfall: The sum of two good adapters can overshoot; lower merge_weight when the likelihood suffers.
    Paper: arXiv:2406.17923, section 3
    """
    taught = chosen if demonstrations is None else demonstrations
    return -log_sigmoid(beta * (chosen.log_ratio - rejected.log_ratio)) - taught.mean_logp
