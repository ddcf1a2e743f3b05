"""Log-probs of the reference policy, computed once and kept on disk for every epoch, loss, round and run that asks.

They are kept per token of a completion, under the hash of its token ids, in a folder per reference; so a loss that
needs sums and one that needs parts share them. Several runs may read and write at the same time: a file appears by
rename, is never changed, and may vanish (the folder has a limit, and what was used longest ago goes first).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from training.engine.errors import EngineError
from training.engine.files import write_atomic
from training.engine.trees import PromptTree

Compute = Callable[[Sequence[PromptTree]], Tensor]

VERIFIED = 4  # cached trees that are computed again before the cache is believed
SHARD = 256  # trees between two writes: what a killed pass loses at most
LIMIT_BYTES = 4 << 30  # of all references together
SUFFIX = ".safetensors"


class ReferenceCache:
    """Reference log-probs by (reference and dtype, token ids), as safetensors shards below ``directory``;
    ``reference`` is a hash of all that makes the model compute what it does.

    ``own`` is a folder of one run: the numbers that the run used are kept there too, so that a resumed run meets the
    very same ones whatever became of the shared folder.
    """

    def __init__(
        self, directory: str | Path, reference: str, *, dtype: str = "float32", own: Path | None = None
    ) -> None:
        name = hashlib.sha256(f"{reference}:{dtype}:tokens".encode()).hexdigest()[:32]
        self.root = Path(directory)
        self.directory = self.root / name
        self._own = own / name if own else None
        self._known: dict[bytes, Tensor] = {}
        self._verified = False
        # Half precision gives other sums for other batch shapes; float32 does not, beyond the fourth digit.
        self._rtol, self._atol = (1e-3, 1e-2) if dtype == "float32" else (2e-2, 0.5)
        for folder in (self.directory, self._own):
            for shard in sorted(folder.glob(f"*{SUFFIX}")) if folder else []:
                self._read(shard)

    def __len__(self) -> int:
        return len(self._known)

    def logps(self, trees: Sequence[PromptTree], compute: Compute) -> Tensor:
        """float32 [M]: the log-prob of every token of every completion, tree by tree.

        ``compute`` gives the same for trees of what is not known yet; it is called with at most 256 of them, whose
        numbers are written before it is called again. A few trees of what is known are computed anew and compared.

        Raises EngineError when the cache and the reference disagree, or when a number is not finite.
        """
        known, todo = self._parts(trees)
        if known and not self._verified:
            self._verify(known[:VERIFIED], compute)
        for start in range(0, len(todo), SHARD):
            self._add(todo[start : start + SHARD], compute)
        keys = [key for tree in trees for key in _keys(tree)]
        if self._own and keys:
            self._write(self._own, list(dict.fromkeys(keys)))
        return self._of(keys)

    def _parts(self, trees: Sequence[PromptTree]) -> tuple[list[PromptTree], list[PromptTree]]:
        """These trees with the completions that are known, and with those that are not, each of them once."""
        known, missing, seen = [], [], set(self._known)
        for tree in trees:
            old = [completion for key, completion in _pairs(tree) if key in self._known]
            new = {key: completion for key, completion in _pairs(tree) if key not in seen}
            seen |= new.keys()
            known += [replace(tree, completions=tuple(old))] if old else []
            missing += [replace(tree, completions=tuple(new.values()))] if new else []
        return known, missing

    def _of(self, keys: Sequence[bytes]) -> Tensor:
        return torch.cat([torch.zeros(0), *(self._known[key] for key in keys)])

    def _verify(self, trees: Sequence[PromptTree], compute: Compute) -> None:
        keys = [key for tree in trees for key in _keys(tree)]
        lengths = [len(self._known[key]) for key in keys]
        live = torch.stack([part.sum() for part in compute(trees).float().cpu().split(lengths)])
        cached = torch.stack([self._known[key].sum() for key in keys])
        if not torch.allclose(live, cached, rtol=self._rtol, atol=self._atol):
            raise EngineError(
                f"The cached log-probs in {self.directory} differ from the reference policy by up to "
                f"{(live - cached).abs().max():.3g} nats; delete that folder, they will be computed again.",
                field="reference",
            )
        self._verified = True

    def _add(self, trees: Sequence[PromptTree], compute: Compute) -> None:
        logps = compute(trees).float().cpu()
        completions = [(tree.row, key, len(each)) for tree in trees for key, each in _pairs(tree)]
        parts = logps.split([length for _, _, length in completions])
        for (row, key, _), part in zip(completions, parts, strict=True):
            if not torch.isfinite(part).all():
                raise EngineError(
                    f"The reference policy gives row {row} a log-prob that is not a number; its weights are damaged.",
                    row=row,
                )
            self._known[key] = part
        self._write(self.directory, list(dict.fromkeys(key for _, key, _ in completions)))
        self._verified = True
        self._drop_oldest()

    def _read(self, shard: Path) -> None:
        """Take in one file. One that vanished is passed over; a damaged one is removed and made anew."""
        try:
            written = shard.read_bytes()
            if _name(written) != shard.name:
                raise ValueError("its name is the hash of other bytes")
            content = load(written)
            keys, logps, lengths = content["keys"], content["logps"], content["lengths"].tolist()
            parts = logps.clone().split(lengths)
            self._known.update(zip((bytes(key) for key in keys.numpy()), parts, strict=True))
            os.utime(shard)
        except FileNotFoundError:
            return
        except (SafetensorError, KeyError, RuntimeError, ValueError):
            shard.unlink(missing_ok=True)

    def _write(self, folder: Path, keys: Sequence[bytes]) -> None:
        """One shard, named by its content, visible only when whole."""
        folder.mkdir(parents=True, exist_ok=True)
        parts = [self._known[key] for key in keys]
        content = save(
            {
                "keys": torch.frombuffer(bytearray(b"".join(keys)), dtype=torch.uint8).reshape(len(keys), -1),
                "lengths": torch.tensor([len(part) for part in parts], dtype=torch.int32),
                "logps": torch.cat(parts),
            }
        )
        target = folder / _name(content)
        if not target.exists():
            # Two runs that compute the same write the same content, each under a temporary name of its own.
            write_atomic(target, content, writer=str(os.getpid()))

    def _drop_oldest(self) -> None:
        """Bring all references together under the limit; what was written or read last stays."""
        found = []
        for shard in self.root.glob(f"*/*{SUFFIX}"):
            try:
                status = shard.stat()
            except FileNotFoundError:
                continue
            found.append((status.st_mtime_ns, status.st_size, shard))
        excess = sum(size for _, size, _ in found) - LIMIT_BYTES
        for _, size, shard in sorted(found):
            if excess <= 0:
                return
            shard.unlink(missing_ok=True)
            excess -= size


def _name(content: bytes) -> str:
    """The name of a file with this content."""
    return f"{hashlib.sha256(content).hexdigest()[:32]}{SUFFIX}"


def _keys(tree: PromptTree) -> tuple[bytes, ...]:
    """One hash per completion, over the ids of its prompt and its own."""
    prompt = ",".join(map(str, tree.prompt))
    return tuple(
        hashlib.sha256(f"{prompt}|{','.join(map(str, completion))}".encode()).digest()
        for completion in tree.completions
    )


def _pairs(tree: PromptTree) -> list[tuple[bytes, tuple[int, ...]]]:
    return list(zip(_keys(tree), tree.completions, strict=True))
