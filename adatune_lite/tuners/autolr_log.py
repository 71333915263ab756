"""What AutoLR decided, and what it may still take back."""

from __future__ import annotations

from dataclasses import dataclass

from adatune_lite.tuners.autolr_fit import Parabola
from adatune_lite.tuners.autolr_snapshot import Snapshot


@dataclass(frozen=True)
class Decision:
    """What the end of one window decided, and from what."""

    step: int
    """Steps done at its end, this one included; `new_lr` is the rate of this step."""
    phase: str
    """"explore" or "exploit"."""
    decision: str
    """"raise", "lower", "keep" or "rollback"."""
    reason: str
    lr: float
    new_lr: float
    drop_rate: float | None = None
    """Fall of the held superbatch's loss per step; None where it was not measured."""
    superbatch: int | None = None
    """Index of the superbatch of the fit; None without a fit, and so below."""
    eps: tuple[float, ...] = ()
    losses: tuple[float, ...] = ()
    fit: Parabola | None = None
    """(k0, k1, k2)."""


@dataclass
class Change:
    """A change of the rate that is still to be judged: what it left, and where to go back to."""

    snapshot: Snapshot
    lr: float
    drop_rate: float
    loss: float
