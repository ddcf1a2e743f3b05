"""Reward models: a transformer without its vocabulary projection, and one linear head on a pooled state."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn

from training.engine.attention import mask_for
from training.engine.batch import Batch
from training.engine.errors import EngineError
from training.engine.lastlayer import read_only_at
from training.engine.losses.reward import davidson_log_probs, rao_kupper_log_probs
from training.engine.reward.laplace import Laplace
from training.engine.reward.outputs import Outputs

Pooling = Literal["last", "mean", "cls", "tokens"]

TIES = {"davidson": davidson_log_probs, "rao_kupper": rao_kupper_log_probs}

# Adam moves every number by about the learning rate, whatever its size. That suits weights of the order 1/√d; the
# logarithm of an odds, of order one, would never get anywhere.
TIE_SCALE = 100.0


class RewardModel(nn.Module):
    """Gives every completion of a batch one number, for any number of completions to a prompt.

    ``pooling``: ``last`` reads the state of the completion's last token, ``tokens`` averages over the completion's
    tokens (both for decoders); ``mean`` averages the states of all attended tokens of a row and ``cls`` reads the
    first one (encoders, in padded rows). The head is linear and float32 whatever the backbone is; ``outputs`` says
    what its numbers stand for. ``mean`` and ``std`` describe the values on held-out completions; ``forward`` gives
    raw values, which the loss wants, ``normalised`` the comparable ones.

    A model with a ``separator`` is a preference model: its "completions" are two completions with these token ids
    between them, and its values the logits of the first being better (see ``preference``).
    """

    backbone: Any  # a transformers model; its methods are not those of nn.Module
    scaled_log_tie_odds: nn.Parameter | None

    def __init__(self, backbone: nn.Module, *, pooling: Pooling, seed: int = 0) -> None:
        super().__init__()
        self.backbone = backbone
        self.pooling = pooling
        self.seed = seed
        self.mean = 0.0
        self.std = 1.0
        self.separator: tuple[int, ...] | None = None
        self.laplace: Laplace | None = None
        self.ties: str | None = None
        self.register_parameter("scaled_log_tie_odds", None)
        self.reset_head(Outputs())

    @property
    def config(self) -> Any:
        """The configuration of the backbone."""
        return self.backbone.config

    @property
    def base_model(self) -> nn.Module:
        """The backbone, under the name that transformers' models give theirs."""
        return self.backbone

    @property
    def reads_rows(self) -> bool:
        """Whether a completion is read as one whole conversation, as encoders do."""
        return self.pooling in ("mean", "cls")

    @property
    def tie_odds(self) -> Tensor | None:
        """How often two equals tie for each time that one of them wins (ν of Davidson, θ - 1 of Rao and Kupper);
        None for a model that knows no ties.

        Its gradient is divided by the scale, not multiplied: Adam takes steps of the same size either way, but a
        gradient a hundred times too large would be nearly all of the norm that clipping looks at, and every other
        weight's steps would jump with it.
        """
        if self.scaled_log_tie_odds is None:
            return None
        kept = self.scaled_log_tie_odds.detach()
        return (TIE_SCALE * kept + (self.scaled_log_tie_odds - kept) / TIE_SCALE).exp()[0]

    def reset_head(self, outputs: Outputs) -> None:
        """A new head for these outputs, from the model's seed."""
        self.outputs = outputs
        first = next(self.backbone.parameters())
        self.head = new_head(int(self.config.hidden_size), self.seed, outputs).to(first.device)

    def learn_ties(self, method: str, odds: float) -> None:
        """Have the model learn how often equals tie, beginning with these odds; ``method`` is a name of TIES."""
        self.ties = method
        # [1], not a scalar: FSDP2 shards parameters along their first dimension.
        start = torch.full((1,), math.log(odds) / TIE_SCALE, device=self.head.weight.device)
        self.scaled_log_tie_odds = nn.Parameter(start)

    def forget_ties(self) -> None:
        """Make it a model that knows no ties."""
        self.ties = self.scaled_log_tie_odds = None

    def outcomes(self, gap: Tensor) -> Tensor:
        """P(win), P(tie) and P(loss) of completions whose values lead by ``gap`` [...]: [..., 3]."""
        if self.ties is None or self.tie_odds is None:
            return torch.stack((torch.sigmoid(gap), torch.zeros_like(gap), torch.sigmoid(-gap)), dim=-1)
        return TIES[self.ties](gap, self.tie_odds).exp()

    def forward(self, batch: Batch, *, each: bool = False) -> Tensor:
        """Raw values, float32 [N]; with ``each`` the outputs they are made of, [N, O]."""
        features = self.features(batch)
        # In bfloat16 a value near 8 is exact to 0.03 only, and close pairs become ties.
        with torch.autocast(features.device.type, enabled=False):
            values = self.outputs.compose(self.head(features))
            return values if each else self.outputs.combine(values)

    def features(self, batch: Batch) -> Tensor:
        """What the head reads of every completion, float32 [N, D]."""
        if self.pooling == "last":
            return self._states_at(batch, batch.last)
        if self.pooling == "tokens":
            place, completion = completion_tokens(batch)
            of_tokens = self._states_at(batch, place)
            total = of_tokens.new_zeros(batch.length.numel(), of_tokens.shape[-1])
            return total.index_add(0, completion, of_tokens) / batch.length[:, None]
        states = self._states(batch)
        if self.pooling == "cls":
            return states[:, 0]
        assert batch.attention_mask is not None
        mask = batch.attention_mask[:, :, None].float()
        return (states * mask).sum(1) / mask.sum(1)

    def token_values(self, batch: Batch) -> Tensor:
        """Rewards of the single tokens of all completions, in order, float32 [M]; their mean is the value.

        A mean, not a sum, so that length alone earns nothing. ValueError for a model that does not pool tokens.
        """
        if self.pooling != "tokens":
            raise ValueError(f"a model with pooling {self.pooling!r} gives no values to tokens; train it with 'tokens'")
        place, _ = completion_tokens(batch)
        states = self._states_at(batch, place)
        with torch.autocast(states.device.type, enabled=False):
            rows = self.head(states)
        return self.outputs.combine(self.outputs.compose(rows))

    def uncertainty(self, batch: Batch) -> Tensor:
        """Standard deviation of the value across the heads of an ensemble (of k - 1 degrees of freedom), [N].

        Of a model of pairs or lists only differences of values mean something: see ``Judge.uncertainties``.
        """
        if self.outputs.kind != "ensemble":
            raise ValueError("only an ensemble knows how far its heads disagree; train it with heads > 1")
        return self.forward(batch, each=True).std(-1)

    def normalised(self, values: Tensor) -> Tensor:
        """Values with mean 0 and standard deviation 1 on held-out completions."""
        return (values - self.mean) / self.std

    def _states_at(self, batch: Batch, places: Tensor) -> Tensor:
        """float32 [P, D] at flat places, of which none comes twice."""
        with read_only_at(self.backbone, places):
            states = self._states(batch)
        return states.reshape(-1, states.shape[-1]).index_select(0, places)

    def _states(self, batch: Batch) -> Tensor:
        """[R, T, D] float32."""
        inputs: dict[str, Any] = {"input_ids": batch.input_ids, "attention_mask": mask_for(self.config, batch)}
        if not self.reads_rows:
            inputs["use_cache"] = False
            if batch.layout != "padded":  # padded rows are counted from 0, as models do by themselves; RoBERTa from 2
                inputs["position_ids"] = batch.position_ids
        elif batch.layout != "padded":
            raise ValueError(f"pooling {self.pooling!r} reads whole rows and needs layout 'padded'")
        states: Tensor = self.backbone(**inputs).last_hidden_state
        return states.float()


def new_head(width: int, seed: int, outputs: Outputs | None = None) -> nn.Linear:
    """A head that starts with values of order one: weights N(0, 1/(d+1)), no offset (arXiv:2009.01325, appendix
    B.1). Groups of annotators begin without a difference."""
    outputs = outputs or Outputs()
    head = nn.Linear(width, outputs.rows, dtype=torch.float32)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        head.weight.normal_(0.0, 1.0 / math.sqrt(width + 1), generator=generator)
        head.bias.zero_()
        if outputs.kind == "groups":
            head.weight[1:] = 0.0
    return head


def completion_tokens(batch: Batch) -> tuple[Tensor, Tensor]:
    """Where the completion tokens are, flat over R·T, and which completion each is of: long [M] each.

    EngineError for trees without a prompt, in which nobody knows where the completion begins.
    """
    if batch.source.numel() == 0:
        raise EngineError(
            "Token rewards need to know where the answer begins, and these trees were read for an encoder. "
            "Set pooling to 'mean'.",
            field="config.pooling",
        )
    first = batch.last - batch.length + 1
    before = batch.length.cumsum(0) - batch.length
    index = torch.arange(batch.completion.numel(), device=batch.completion.device)
    return first[batch.completion] + index - before[batch.completion], batch.completion


def is_bidirectional(backbone: nn.Module) -> bool:
    """Whether early states see later tokens, found by changing the last token: true for encoders."""
    device = next(backbone.parameters()).device
    ids = torch.tensor([[5, 6, 7, 8], [5, 6, 7, 9]], device=device)
    with torch.no_grad():
        states = backbone(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
    return not torch.equal(states[0, 0], states[1, 0])
