"""What AutoLR decided, and what it may still take back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from adatune_lite.tuners.autolr.fit import Parabola
from adatune_lite.tuners.snapshot import Snapshot

PHASES = ("explore", "exploit")

REASONS = (
    "minimum beyond the samples",
    "minimum out of bounds: the bound",
    "minimum",
    "no minimum: the lower end",
    "explore only raises",
    "not saturated",
    "the drop rate fell",
    "the loss is no longer finite",
    "a loss is not finite",
    "empty direction",
    "flat",
    "no room for eps",
)
"""How the reasons of decisions begin; what follows is particular."""


@dataclass(frozen=True)
class Decision:
    """What the end of one window decided, and from what."""

    step: int
    """Steps done at its end, this one included; `new_lr` is the rate of this step."""
    phase: str
    """One of PHASES."""
    decision: str
    """"raise", "lower", "keep" or "rollback"."""
    reason: str
    """Begins as one of REASONS."""
    lr: float
    new_lr: float
    drop_rate: float | None = None
    """Fall of the held superbatch's loss per step; None where it was not measured."""
    threshold: float | None = None
    """What that was judged by: saturated is what is lower; None where saturation was not asked for."""
    superbatch: int | None = None
    """Index of the superbatch of the fit; None without a fit, and so below."""
    eps: tuple[float, ...] = ()
    losses: tuple[float, ...] = ()
    fit: Parabola | None = None
    """(k0, k1, k2)."""


def reason_code(reason: str) -> int:
    """Place in REASONS of the first that a reason begins with."""
    return next(i for i, words in enumerate(REASONS) if reason.startswith(words))


@dataclass
class Change:
    """A change of the rate that is still to be judged: what it left, and where to go back to."""

    snapshot: Snapshot
    lr: float
    drop_rate: float
    loss: float

    @classmethod
    def of(cls, saved: dict[str, Any]) -> Change:
        """From what `dataclasses.asdict` made of one."""
        return cls(**{**saved, "snapshot": Snapshot(**saved["snapshot"])})
