"""What a loss sees of completions, and the few functions that most losses are made of.

torch is imported when a loss is computed, not when it is defined: the web process reads the table of losses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Scores:
    """N completions, natural logarithms in nats, float [N] each.

    ``logp``: log-prob summed over tokens; ``length``: tokens with the end token; ``ref_logp``: the reference policy's
    ``logp``, or None. ``prefix_logp`` and ``ref_prefix_logp`` are the parts of the first min(n_w, n_l) tokens of a
    pair (LD-DPO); ``certainty`` is the mean over tokens of log p - log Σ p² (WPO), without gradient. ValueError for
    columns of another shape than [N], which would be spread out over each other without a word.
    """

    logp: Tensor
    length: Tensor
    ref_logp: Tensor | None = None
    prefix_logp: Tensor | None = None
    ref_prefix_logp: Tensor | None = None
    certainty: Tensor | None = None

    def __post_init__(self) -> None:
        size = getattr(self.logp, "shape", ())
        for field in fields(self):
            value = getattr(self, field.name)
            shape = getattr(value, "shape", ())
            if value is not None and (len(shape) != 1 or shape != size):
                found = f"shape {list(shape)}" if hasattr(value, "shape") else f"a {type(value).__name__}"
                wanted = f"of shape {list(size)} as logp" if len(size) == 1 else "[N], one number per completion"
                raise ValueError(f"{field.name} of the scores must be a tensor {wanted}, not {found}")

    @property
    def log_ratio(self) -> Tensor:
        """log π(y|x) - log π_ref(y|x), [N]. ValueError without a reference."""
        if self.ref_logp is None:
            raise ValueError("this loss compares with a reference policy, but the scores carry no ref_logp")
        return self.logp - self.ref_logp

    @property
    def mean_logp(self) -> Tensor:
        """Log-prob per token, [N]; an empty completion counts as one token."""
        return self.logp / self.length.clamp(min=1)

    @property
    def mean_log_ratio(self) -> Tensor:
        """Log-ratio per token, [N]."""
        return self.log_ratio / self.length.clamp(min=1)

    def __getitem__(self, index: slice | Tensor) -> Scores:
        """The scores of some of the completions."""
        values = (getattr(self, field.name) for field in fields(self))
        return Scores(*(None if value is None else value[index] for value in values))  # type: ignore[arg-type]

    @staticmethod
    def joined(parts: Sequence[Scores]) -> Scores:
        """The completions of several scores, one after the other."""
        import torch

        columns = ([getattr(part, field.name) for part in parts] for field in fields(Scores))
        return Scores(*(None if column[0] is None else torch.cat(column) for column in columns))  # type: ignore[arg-type]


def per_pair(name: str, value: Tensor | float, pairs: Tensor) -> Tensor | float:
    """``value`` as it is, one number or [B] as ``pairs``. ValueError for another shape: [B, 1] would give [B, B]."""
    shape = getattr(value, "shape", ())
    if shape not in ((), pairs.shape):
        raise ValueError(f"{name} must be one number or of shape {list(pairs.shape)} as the pairs, not {list(shape)}")
    return value


def log_sigmoid(x: Tensor) -> Tensor:
    """log σ(x), finite for every finite x."""
    from torch.nn.functional import logsigmoid

    return logsigmoid(x)


def sigmoid(x: Tensor) -> Tensor:
    """σ(x). 1 - σ(x) is to be written σ(-x): the difference loses every digit where σ(x) is near one."""
    return x.sigmoid()


def log_odds(log_probability: Tensor) -> Tensor:
    """log(p / (1 - p)) from log p < 0, float [N].

    log(1 - p) is log(-expm1(log p)): with log1p(-exp(log p)) a log-prob of -1e-8 gives infinity in float32.
    """
    import torch

    bounded = log_probability.clamp(max=-torch.finfo(log_probability.dtype).tiny)
    return bounded - torch.log(-torch.expm1(bounded))
