"""What AutoLR decided, and what it may still take back."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from adatune_lite.checks import is_count, is_number, shown
from adatune_lite.tuners.autolr.fit import Parabola
from adatune_lite.tuners.snapshot import Snapshot

PHASES = ("explore", "exploit")
DECISIONS = ("keep", "raise", "lower", "rollback")
"""A record holds the place in this list."""

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
    """One of DECISIONS."""
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


def check(saved: object) -> None:
    """Raises ValueError for a log that no state has saved."""
    if not isinstance(saved, list):
        raise ValueError(f"the log of this state must be a list of decisions, not {shown(saved)}")
    for found in saved:
        one = Decision(**found)
        given = [x for x in (one.drop_rate, one.threshold) if x is not None]
        measured = (one.lr, one.new_lr, *given, *one.eps, *one.losses, *(one.fit or ()))
        if not (
            all(map(is_number, measured))
            and is_count(one.step)
            and (one.superbatch is None or is_count(one.superbatch))
            and one.phase in PHASES
            and one.decision in DECISIONS
            and one.reason.startswith(REASONS)
            and (one.fit is None or len(one.fit) == 3)
            and len(one.eps) == len(one.losses)
        ):
            raise ValueError(f"the log of this state holds no decision of AutoLR: {shown(found)}")


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
        change = cls(**{**saved, "snapshot": Snapshot(**saved["snapshot"])})
        numbers = all(map(is_number, (change.lr, change.drop_rate, change.loss)))
        if not (numbers and 0 < change.lr < math.inf and change.snapshot.is_one()):
            raise ValueError(
                "the change of the rate in this state must hold a rate, a drop rate, a loss and a "
                "snapshot as AutoLR saved them"
            )
        return change


SERIES = (
    *("decision", "decision_reason", "decision_phase", "decision_lr", "decision_new_lr", "drop_rate"),
    *("saturation_threshold", "superbatch", "fit_minimum", "sample_width", "fit_k0", "fit_k1", "fit_k2"),
)
"""What `series` gives, besides the samples."""


def series(log: Sequence[Decision]) -> dict[str, tuple[list[int], list[float]]]:
    """A log as (steps done at each decision, values); NaN where nothing was measured.

    decision: place in DECISIONS. decision_reason, decision_phase: places in REASONS and PHASES. decision_lr,
    decision_new_lr: the rates before and after it. drop_rate: of the held superbatch; saturation_threshold:
    what it was judged by. superbatch: index of that of the fit. fit_k0, fit_k1, fit_k2: the parabola in eps;
    fit_minimum: its eps_min, NaN where it has none. sample_width: half-width of the samples; sample_0 ...:
    their losses, evenly spaced over it.
    """
    steps = [found.step for found in log]

    def of(value: Callable[[Decision], float | None]) -> tuple[list[int], list[float]]:
        values = [value(found) for found in log]
        return steps, [math.nan if v is None else v for v in values]

    found = {
        "decision": of(lambda d: DECISIONS.index(d.decision)),
        "decision_reason": of(lambda d: reason_code(d.reason)),
        "decision_phase": of(lambda d: PHASES.index(d.phase)),
        "decision_lr": of(lambda d: d.lr),
        "decision_new_lr": of(lambda d: d.new_lr),
        "drop_rate": of(lambda d: d.drop_rate),
        "saturation_threshold": of(lambda d: d.threshold),
        "superbatch": of(lambda d: d.superbatch),
        "fit_minimum": of(lambda d: -d.fit[1] / (2 * d.fit[2]) if d.fit and d.fit[2] > 0 else None),
        "sample_width": of(lambda d: d.eps[-1] if d.eps else None),
    }
    for i in range(3):
        found[f"fit_k{i}"] = of(lambda d, i=i: d.fit[i] if d.fit else None)  # type: ignore[misc]
    for i in range(max((len(one.losses) for one in log), default=0)):
        found[f"sample_{i}"] = of(lambda d, i=i: d.losses[i] if d.losses else None)  # type: ignore[misc]
    return found


def counts(log: Sequence[Decision]) -> dict[str, float]:
    """How often AutoLR decided what, and how many fits it made."""
    number = Counter(found.decision for found in log)
    number["fits"] = sum(bool(found.losses) for found in log)
    return {name: float(number[name]) for name in (*DECISIONS, "fits")}
