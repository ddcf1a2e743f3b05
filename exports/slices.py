"""Which part of the data an item belongs to: the value of one of the keys that its row brought beside the content."""

from collections.abc import Sequence
from typing import Any

from feedback_site.jobs.context import JobFailed

# Each has a line of its own wherever a reward model is measured.
MOST_SLICES = 100
LONGEST_NAME = 100
KEYS_NAMED = 10


class SliceFinder:
    """Finds the values of `key`, and remembers what it saw, to say what is wrong with a key that finds nothing.

    Where an item and its prompt both have the key, the item's counts. Short texts, numbers and true or false are
    values; long texts, lists and objects are none.
    """

    def __init__(self, key: str) -> None:
        self.key = key
        # What slice_of is given; without a key there is nothing to read.
        self.columns = ("item__metadata", "item__prompt__metadata") if key else ()
        self.found: set[str] = set()
        self.keys: set[str] = set()

    def slice_of(self, described: Sequence[dict[str, Any]]) -> str | None:
        """The slice of an item, None for an item without one. JobFailed for a key that takes everything apart."""
        for metadata in described:
            if len(self.keys) < KEYS_NAMED:
                self.keys |= metadata.keys()
            value = metadata.get(self.key)
            if isinstance(value, bool):
                value = str(value).lower()
            if isinstance(value, str | int | float) and 0 < len(name := str(value)) <= LONGEST_NAME:
                self.found.add(name)
                self._check_few()
                return name
        return None

    def _check_few(self) -> None:
        if len(self.found) > MOST_SLICES:
            raise JobFailed(
                f"The key “{self.key}” has more than {MOST_SLICES} different values, and each would be a slice of its "
                "own. Make a dataset whose slice is a key with a few values, or none."
            )

    def check_found(self) -> None:
        """JobFailed where a key was named and no item had a value for it."""
        if self.key and not self.found:
            names = ", ".join(f"“{name}”" for name in sorted(self.keys)[:KEYS_NAMED])
            there = f"Rows here brought {names}" if names else "No row brought any key"
            raise JobFailed(
                f"No row brought a value “{self.key}” beside its content. {there}. Make a dataset with another slice, "
                "or with none."
            )
