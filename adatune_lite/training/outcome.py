"""What a run function returns, and its series."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:  # A writer of records needs no torch.
    from torch import Tensor

Floats: TypeAlias = "Sequence[float] | np.ndarray | Tensor"


@dataclass(frozen=True)
class Series:
    """Values at the given steps; without steps, at 0, 1, 2 ..."""

    values: Floats
    steps: Sequence[int] | np.ndarray | None = None
    whole: bool = False
    """Whether a record keeps every point: what a spec asked for is not thinned."""


@dataclass
class Outcome:
    """What a run function returns."""

    status: str
    """"finished", "diverged at step s" or "stopped by budget"."""
    series: Mapping[str, Floats | Series] = field(default_factory=dict)
    """One-dimensional, one value a step (or a `Series` with its own steps); torch tensors are allowed."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Final figures, kept to the last digit."""
    cost: Mapping[str, float] = field(default_factory=dict)
    """What it took, for example "plain_steps"; the seconds are added by the execution."""
    notes: str = ""
    """What a reader should know, in a sentence."""
