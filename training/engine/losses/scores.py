"""What a loss sees of completions."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Scores:
    """N completions: ``logp`` float [N], summed natural log-probs in nats; ``length`` [N], tokens with the end token;
    ``ref_logp`` float [N], the same of the reference policy, or None."""

    logp: Tensor
    length: Tensor
    ref_logp: Tensor | None = None

    @property
    def log_ratio(self) -> Tensor:
        """log π(y|x) - log π_ref(y|x), [N]. ValueError without a reference."""
        if self.ref_logp is None:
            raise ValueError("this loss compares with a reference policy, but the scores carry no ref_logp")
        return self.logp - self.ref_logp

    def __getitem__(self, index: slice | Tensor) -> Scores:
        """The scores of some of the completions."""
        reference = None if self.ref_logp is None else self.ref_logp[index]
        return Scores(self.logp[index], self.length[index], reference)
