"""What a run function is given besides its spec: device, sources, a place to resume from, time."""

from __future__ import annotations

import contextlib
import io
import math
import pickle
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adatune_lite import files
from adatune_lite.runs.record import Record
from adatune_lite.runs.spec import RunSpec
from adatune_lite.runs.store import Store


class SourceMissing(ValueError):
    """A run starts from the schedule of another one that is not in the store."""


def _silent(done: int, total: int) -> None:
    pass


@dataclass
class Context:
    """The surroundings of one run."""

    device: str
    """Kind of device to compute on: "cpu" or "cuda"."""
    store: Store
    """Records made so far."""
    checkpoint: Path
    """A file of this run alone, for `save` and `load`; removed once the record is written."""
    report: Callable[[int, int], None] = _silent
    """Progress within the run: (done, total)."""
    deadline: float = math.inf
    """Time (`time.time()`) at which the budget ends."""
    started: float = field(default_factory=time.time)
    spent: float = 0.0
    """Seconds spent on this run before it was resumed."""

    def source(self, spec: RunSpec) -> Record:
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

    def time_left(self) -> float:
        """Seconds of the budget; a run function may return "stopped by budget" after it has saved."""
        return self.deadline - time.time()

    def seconds(self) -> float:
        """Seconds spent on this run, those before a resume included."""
        return self.spent + time.time() - self.started

    def save(self, state: Any) -> None:
        """Replace the checkpoint by `state`: tensors and plain values, nothing that needs unpickling.

        A checkpoint that cannot be written costs a resume, not the run.
        """
        import torch

        buffer = io.BytesIO()
        torch.save({"run": self.checkpoint.stem, "seconds": self.seconds(), "state": state}, buffer)
        with contextlib.suppress(OSError):
            files.replace(self.checkpoint, buffer.getvalue())

    def load(self) -> Any | None:
        """The state saved last, on the cpu, or None: there is none, it is damaged, or it is another run's."""
        import torch

        try:
            kept = torch.load(self.checkpoint, map_location="cpu", weights_only=True)
            if kept["run"] != self.checkpoint.stem:
                return None
            self.spent = float(kept["seconds"])
            return kept["state"]
        except (OSError, RuntimeError, EOFError, KeyError, TypeError, ValueError, pickle.UnpicklingError):
            return None
