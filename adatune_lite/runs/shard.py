"""Work split between machines that do not talk: each run belongs to one shard, by the hash of its spec."""

from __future__ import annotations

from dataclasses import dataclass

from adatune_lite.training.spec import RunSpec


class ShardError(ValueError):
    """A shard that does not exist."""


@dataclass(frozen=True)
class Shard:
    """The `index`-th of `count` parts, counted from 1."""

    index: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """The shard written i/n.

        Raises:
            ShardError: it is not of that form, or i is not one of 1 ... n.
        """
        index, slash, count = text.partition("/")
        if not (slash and index.isascii() and index.isdigit() and count.isascii() and count.isdigit()):
            raise ShardError(f"{text!r} is no shard: write i/n, for example 1/4 for the first of four")
        shard = cls(int(index), int(count))
        if not 1 <= shard.index <= shard.count:
            raise ShardError(f"there is no shard {text}: i of i/n runs from 1 to n")
        return shard

    def holds(self, spec: RunSpec) -> bool:
        """Whether this shard makes the run."""
        return int(spec.hash[:15], 16) % self.count == self.index - 1

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"
