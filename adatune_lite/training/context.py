"""What a run function is given besides its spec: device, sources, a place to resume from, time."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from adatune_lite.training.spec import RunSpec

if TYPE_CHECKING:
    from adatune_lite.checkpoint import Checkpoint

SAVE_EVERY = 30.0
"""Seconds between two checkpoints: what a kill -9 costs at most, besides the step under way."""


class SourceMissing(ValueError):
    """A run starts from the schedule of another one that is not in the store."""


class Learned(Protocol):
    """A record, as far as a run that starts from its schedule needs it."""

    def digest(self) -> str:
        """Digest of the schedule's digits."""

    def series(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """(steps, values) of a series."""


class Sources(Protocol):
    """A store of records, as far as a run needs it."""

    def candidates(self, prefix: str) -> Sequence[Learned]:
        """All records whose spec hash begins so."""


def _silent(done: int, total: int) -> None:
    pass


@dataclass
class Context:
    """The surroundings of one run."""

    device: str
    """Kind of device to compute on: "cpu" or "cuda"."""
    store: Sources
    """Records made so far."""
    checkpoint: Checkpoint
    """The file of this run alone; removed once the record is written."""
    report: Callable[[int, int], None] = _silent
    """Progress within the run: (done, total)."""
    deadline: float = math.inf
    """Time (`time.time()`) at which the run should stop, once it has saved."""
    save_every: float = SAVE_EVERY
    """Seconds between two checkpoints."""
    _saved: float = field(default_factory=time.monotonic)

    def source(self, spec: RunSpec) -> Learned:
        """The record that `spec` names as its source, with exactly the digits that it names.

        Raises:
            SourceMissing: no record in the store has that spec hash and digest.
        """
        for record in self.store.candidates(spec.source):
            if record.digest() == spec.source_digest:
                return record
        raise SourceMissing(
            f"no record {spec.source[:16]} with the schedule {spec.source_digest} is in the store: "
            "run the experiment that makes it first"
        )

    def ending(self) -> bool:
        """Whether the budget has ended: save, and return the outcome "stopped by budget"."""
        return time.time() >= self.deadline

    def due(self) -> bool:
        """Whether it is time to save, because of the last one or the end of the budget."""
        return self.ending() or time.monotonic() - self._saved >= self.save_every

    def save(self, state: Any) -> None:
        """Replace the checkpoint by `state`: tensors and plain values.

        A checkpoint that cannot be written costs a resume, not the run.
        """
        with contextlib.suppress(OSError):
            self.checkpoint.save(state)
        self._saved = time.monotonic()

    def load(self) -> Any | None:
        """The state saved last, on the cpu, or None.

        Raises:
            CheckpointError: the file is damaged or another run's; it stays as it is.
        """
        return self.checkpoint.load()
