"""A checkpoint: one file with the state of one computation, replaced as a whole and verified when it is read.

The file is a line with a SHA-256 followed by what `torch.save` makes of tensors and plain values; nothing in
it needs unpickling. It is written beside its predecessor, synced and renamed: at any moment, also of a
kill -9, one of the two is there, whole.
"""

from __future__ import annotations

import hashlib
import io
import math
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from adatune_lite import files
from adatune_lite.checks import is_number

HEAD = b"adatune_lite checkpoint 1 "


def folder() -> Path:
    """Where the checkpoints of runs are kept."""
    return files.scratch_folder() / "checkpoints"


def is_whole(content: bytes) -> bool:
    """Whether these are the bytes of a checkpoint as it was written."""
    head, _, body = content.partition(b"\n")
    return head == HEAD + hashlib.sha256(body).hexdigest().encode()


class CheckpointError(ValueError):
    """A file is no whole checkpoint, or the checkpoint of something else."""


@runtime_checkable
class Keeper(Protocol):
    """Where a computation keeps its state; a `Checkpoint` is one, and the `Context` of a run."""

    def save(self, state: Any) -> None:
        """Replace the state."""

    def load(self) -> Any | None:
        """The state saved last, on the cpu; None if there is none."""


@dataclass
class Checkpoint:
    """A file, and whose state it holds."""

    path: Path
    owner: str
    """What the state belongs to: a file of another owner is refused and stays as it is."""
    spent: float = 0.0
    """Seconds spent before this process took over, up to the last `save`; known after `load`."""
    started: float = field(default_factory=time.monotonic)

    def seconds(self) -> float:
        """Seconds spent so far, in this process and before it."""
        return self.spent + time.monotonic() - self.started

    def save(self, state: Any) -> None:
        """Replace the file.

        Raises:
            OSError: the folder cannot be written or the disk is full; the file is as before.
        """
        import torch

        buffer = io.BytesIO()
        torch.save({"owner": self.owner, "seconds": self.seconds(), "state": state}, buffer)
        body = buffer.getvalue()
        files.replace(self.path, HEAD + hashlib.sha256(body).hexdigest().encode() + b"\n" + body)

    def load(self) -> Any | None:
        """The state saved last, on the cpu; None if there is no file.

        Raises:
            CheckpointError: the file is damaged, of another owner, or was not saved here.
            OSError: it cannot be read.
        """
        import torch

        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return None
        if not is_whole(content):
            raise CheckpointError(f"the checkpoint {self.path} is damaged: delete it to start anew")
        body = content[content.index(b"\n") + 1 :]
        foreign = f"the checkpoint {self.path} was not saved here: move it away, or name another file"
        try:
            with warnings.catch_warnings(action="ignore"):  # torch's, of what it then refuses to read
                kept = torch.load(io.BytesIO(body), map_location="cpu", weights_only=True)
        except Exception as error:  # of many kinds, by what the bytes happen to be
            raise CheckpointError(foreign) from error
        if not isinstance(kept, dict) or set(kept) != {"owner", "seconds", "state"}:
            raise CheckpointError(foreign)
        if not is_number(kept["seconds"]) or not 0 <= kept["seconds"] < math.inf:
            raise CheckpointError(foreign)
        if kept["owner"] != self.owner:
            raise CheckpointError(
                f"the checkpoint {self.path} belongs to {kept['owner']!r}, not to {self.owner!r}: "
                "move it away, or name another file"
            )
        self.spent = float(kept["seconds"])
        return kept["state"]

    def remove(self) -> None:
        """Delete the file, if there is one."""
        self.path.unlink(missing_ok=True)
