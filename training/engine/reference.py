"""Log-probs of the reference policy, computed once and kept on disk.

The reference never changes during a run, and often not between runs: other losses, other seeds and later epochs ask
for the same numbers. They are kept per completion, under the hash of its token ids, in a folder per reference.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from training.engine.errors import EngineError
from training.engine.trees import PromptTree

Compute = Callable[[Sequence[PromptTree]], Tensor]

VERIFIED = 4  # cached trees that are computed again before the cache is believed
SHARD = 256  # trees between two writes: what a killed pass loses at most


class ReferenceCache:
    """Reference log-probs by (reference weights and dtype, token ids), as safetensors shards below ``directory``."""

    def __init__(self, directory: str | Path, weights_sha: str, *, dtype: str = "float32") -> None:
        name = hashlib.sha256(f"{weights_sha}:{dtype}:sum".encode()).hexdigest()[:32]
        self.directory = Path(directory) / name
        self._known: dict[bytes, float] = {}
        self._verified = False
        # Half precision gives other sums for other batch shapes; float32 does not, beyond the fourth digit.
        self._rtol, self._atol = (1e-3, 1e-2) if dtype == "float32" else (2e-2, 0.5)
        for shard in sorted(self.directory.glob("*.safetensors")):
            self._read(shard)

    def __len__(self) -> int:
        return len(self._known)

    def logps(self, trees: Sequence[PromptTree], compute: Compute) -> Tensor:
        """float32 [N]: the log-prob of every completion, tree by tree.

        ``compute`` gives the same for the trees that are not known yet; it is called with at most 256 of them, whose
        numbers are written before it is called again. The first known trees are computed anew and compared.

        Raises EngineError when the cache and the reference disagree, or when a number is not finite.
        """
        known = [tree for tree in trees if all(key in self._known for key in _keys(tree))]
        if known and not self._verified:
            self._verify(known[:VERIFIED], compute)
        missing = {_keys(tree): tree for tree in trees if any(key not in self._known for key in _keys(tree))}
        todo = list(missing.values())
        for start in range(0, len(todo), SHARD):
            self._add(todo[start : start + SHARD], compute)
        return torch.tensor([self._known[key] for tree in trees for key in _keys(tree)], dtype=torch.float32)

    def _verify(self, trees: Sequence[PromptTree], compute: Compute) -> None:
        live = compute(trees).float().cpu()
        cached = torch.tensor([self._known[key] for tree in trees for key in _keys(tree)])
        if not torch.allclose(live, cached, rtol=self._rtol, atol=self._atol):
            raise EngineError(
                f"The cached log-probs in {self.directory.name} differ from the reference policy by up to "
                f"{(live - cached).abs().max():.3g} nats; delete that folder, they will be computed again.",
                field="reference",
            )
        self._verified = True

    def _add(self, trees: Sequence[PromptTree], compute: Compute) -> None:
        logps = compute(trees).float().cpu()
        keys = [key for tree in trees for key in _keys(tree)]
        if not torch.isfinite(logps).all():
            bad = int((~torch.isfinite(logps)).nonzero()[0])
            row = [tree.row for tree in trees for _ in tree.completions][bad]
            raise EngineError(
                f"The reference policy gives row {row} a log-prob that is not a number; its weights are damaged.",
                row=row,
            )
        self._write(keys, logps)
        self._known.update(zip(keys, logps.tolist(), strict=True))
        self._verified = True

    def _read(self, shard: Path) -> None:
        try:
            content = load_file(shard)
            keys, logps = content["keys"], content["logps"]
        except (SafetensorError, KeyError) as error:
            raise EngineError(
                f"The cache file {shard.name} is damaged; delete it, it will be computed again."
            ) from error
        self._known.update(zip((bytes(key) for key in keys.numpy()), logps.tolist(), strict=True))

    def _write(self, keys: Sequence[bytes], logps: Tensor) -> None:
        """One shard, named by its content, visible only when whole."""
        self.directory.mkdir(parents=True, exist_ok=True)
        flat = torch.frombuffer(bytearray(b"".join(keys)), dtype=torch.uint8)
        content = save({"keys": flat.reshape(len(keys), -1), "logps": logps.contiguous()})
        target = self.directory / f"{hashlib.sha256(content).hexdigest()[:32]}.safetensors"
        partial = target.with_suffix(f".{os.getpid()}.partial")
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(target)


def _keys(tree: PromptTree) -> tuple[bytes, ...]:
    """One hash per completion, over the ids of its prompt and its own."""
    prompt = ",".join(map(str, tree.prompt))
    return tuple(
        hashlib.sha256(f"{prompt}|{','.join(map(str, completion))}".encode()).digest()
        for completion in tree.completions
    )
