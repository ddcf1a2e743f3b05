"""Which split a prompt falls into: by its own hash, so that it is never on two sides and never moves as data grows."""

import hashlib

SPLITS = ("train", "validation", "test")


def split_of(prompt_sha256: str, *, validation: float, test: float, seed: int) -> str:
    """The split of a prompt. The draw is uniform in [0, 1), from sha256(seed:prompt)."""
    digest = hashlib.sha256(f"{seed}:{prompt_sha256}".encode()).digest()
    draw = int.from_bytes(digest[:8], "big") / 2**64
    if draw < test:
        return "test"
    return "validation" if draw < test + validation else "train"
