"""Reward models: a transformer without its vocabulary projection, and one linear head on a pooled state."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn

from training.engine.batch import Batch

Pooling = Literal["last", "mean", "cls"]


class RewardModel(nn.Module):
    """Gives every completion of a batch one number.

    ``pooling``: ``last`` reads the state of the completion's last token (decoders), ``mean`` averages the states of
    all attended tokens of a row and ``cls`` reads the first one (encoders, in padded rows). The head is float32
    whatever the backbone is. ``mean`` and ``std`` describe the values on held-out completions; ``forward`` gives raw
    values, which the loss wants, ``normalised`` the comparable ones.
    """

    backbone: Any  # a transformers model; its methods are not those of nn.Module

    def __init__(self, backbone: nn.Module, *, pooling: Pooling, seed: int = 0) -> None:
        super().__init__()
        self.backbone = backbone
        self.pooling = pooling
        self.mean = 0.0
        self.std = 1.0
        first = next(backbone.parameters())
        self.head = new_head(int(self.config.hidden_size), seed).to(first.device)

    @property
    def config(self) -> Any:
        """The configuration of the backbone."""
        return self.backbone.config

    @property
    def base_model(self) -> nn.Module:
        """The backbone, under the name that transformers' models give theirs."""
        return self.backbone

    def forward(self, batch: Batch) -> Tensor:
        """Raw values, float32 [N]."""
        inputs: dict[str, Any] = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
        if self.pooling == "last":
            # Encoders number their positions themselves (RoBERTa begins at 2).
            inputs |= {"position_ids": batch.position_ids, "use_cache": False}
        elif batch.layout != "padded":
            raise ValueError(f"pooling {self.pooling!r} reads whole rows and needs layout 'padded'")
        states = self.backbone(**inputs).last_hidden_state.float()
        # In bfloat16 a value near 8 is exact to 0.03 only, and close pairs become ties.
        with torch.autocast(states.device.type, enabled=False):
            value: Tensor = self.head(self._pool(states, batch))[:, 0]
        return value

    def normalised(self, values: Tensor) -> Tensor:
        """Values with mean 0 and standard deviation 1 on held-out completions."""
        return (values - self.mean) / self.std

    def _pool(self, states: Tensor, batch: Batch) -> Tensor:
        """[R, T, D] → [N, D]."""
        if self.pooling == "last":
            return states.reshape(-1, states.shape[-1]).index_select(0, batch.last)
        if self.pooling == "cls":
            return states[:, 0]
        mask = batch.attention_mask[:, :, None].float()
        return (states * mask).sum(1) / mask.sum(1)


def new_head(width: int, seed: int) -> nn.Linear:
    """A head that starts with values of order one: weights N(0, 1/(d+1)), no offset (arXiv:2009.01325, appendix
    B.1)."""
    head = nn.Linear(width, 1, dtype=torch.float32)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        head.weight.normal_(0.0, 1.0 / math.sqrt(width + 1), generator=generator)
        head.bias.zero_()
    return head


def is_bidirectional(backbone: nn.Module) -> bool:
    """Whether early states see later tokens, found by changing the last token: true for encoders."""
    device = next(backbone.parameters()).device
    ids = torch.tensor([[5, 6, 7, 8], [5, 6, 7, 9]], device=device)
    with torch.no_grad():
        states = backbone(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
    return not torch.equal(states[0, 0], states[1, 0])
