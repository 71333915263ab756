"""What a tuner tunes: named scalars of the optimizer's parameter groups, their bounds and their tangents."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from adatune_lite.checks import is_number, shown
from adatune_lite.rules import Rule, Tensors, group_rule

Key = tuple[int, str]
PerName = Mapping[Any, Any]
"""Values by name, or by (group, name) where groups differ."""

KEEPS_BUFFER = sys.float_info.min
"""The smallest momentum: torch treats it as 0 in every sum, but unlike at 0 it keeps its buffer."""

BOUNDS = {
    "lr": (0.0, math.inf),
    "momentum": (KEEPS_BUFFER, 1 - 1e-6),
    "dampening": (0.0, 1.0),
    "weight_decay": (0.0, math.inf),
    "beta1": (0.0, 1 - 1e-6),
    "beta2": (0.0, 1 - 1e-6),
    "alpha": (0.0, 1 - 1e-6),
    "eps": (1e-16, math.inf),
}
"""Where values may be; those below 1 have a memory of a million steps at most."""


@dataclass
class Tuned:
    """One tuned value: scalar `name` of parameter group `group`, in [low, high]."""

    group: int
    name: str
    value: float
    low: float
    high: float
    hyper_lr: float
    z: list[list[Tensors]]
    """Z, the derivative of the training state by this value: by group, part (weights, then each buffer)."""
    hypergradient: float = math.nan

    @property
    def direction(self) -> Tensors:
        """Z of all weights."""
        return [x for parts in self.z for x in parts[0]]

    def after(self, delta: float) -> float:
        """The value after the projected step."""
        return min(self.high, max(self.low, self.value - self.hyper_lr * delta))

    def fits(self, value: float) -> bool:
        """Whether a value is a finite number in the precision of all weights."""
        weights = self.direction
        return math.isfinite(value) and all(abs(value) <= torch.finfo(w.dtype).max for w in weights)

    def write(self, optimizer: torch.optim.Optimizer) -> None:
        """Hand the value to the optimizer."""
        group = optimizer.param_groups[self.group]
        if self.name == "beta1":
            group["betas"] = (self.value, group["betas"][1])
        elif self.name == "beta2":
            group["betas"] = (group["betas"][0], self.value)
        else:
            group[self.name] = self.value


def choose(
    optimizer: torch.optim.Optimizer,
    tune: Sequence[str],
    hyper_lr: float | str | PerName,
    bounds: PerName | None,
    lr_min: float,
    lr_max: float | None,
    past: bool,
) -> tuple[list[Tuned], list[Rule]]:
    """The tuned values, name by name in each group that trains weights, and the rule of each group.

    A momentum of 0 that is tuned begins at KEEPS_BUFFER; the optimizer stays as it is. lr_min, lr_max: bounds
    of all rates, where `bounds` has none.

    past: whether Z is carried from step to step, so that it has a part for each buffer; with a tuned rate
    and no past it has the weights' part alone.

    Raises ValueError for names that the optimizer does not have, for a hyper_lr that is missing, of a name
    that is not tuned or out of range, and for bounds that exclude the start; UnsupportedOptimizer for an
    optimizer without a rule.
    """
    names = () if isinstance(tune, str) or not isinstance(tune, Sequence) else tune
    if not names or not all(isinstance(name, str) for name in names) or len(set(names)) != len(names):
        raise ValueError(
            f'tune must be a tuple of different names such as ("lr", "momentum"), not {shown(tune)}'
        )
    groups = optimizer.param_groups
    trained = [k for k, group in enumerate(groups) if any(w.requires_grad for w in group["params"])]
    rules = []
    for k, group in enumerate(groups):
        from_0 = k in trained and "momentum" in tune and group.get("momentum") == 0
        rules.append(group_rule(optimizer, {**group, "momentum": KEEPS_BUFFER} if from_0 else group))
    keys = [(k, name) for k in trained for name in tune]
    _check_keys("hyper_lr", hyper_lr, keys)
    if bounds is not None and not isinstance(bounds, Mapping):
        raise ValueError(
            "bounds must be a mapping of names, or of (group, name), to pairs (low, high), "
            f'such as {{"momentum": (0.5, 0.99)}}, not {shown(bounds)}'
        )
    _check_keys("bounds", bounds, keys)
    of_rates = _rate_bounds(tune, bounds or {}, lr_min, lr_max)
    found = []
    for k, name in keys:
        if name not in rules[k].hypers:
            raise ValueError(
                f"{type(optimizer).__name__} has no {name!r} to tune in group {k}: "
                f"choose among {', '.join(rules[k].hypers)}"
            )
        value = float(groups[k]["lr"] if name == "lr" else getattr(rules[k], name))
        if name == "lr" and of_rates:
            low, high = of_rates
            _check_rate(value, low, high)
        else:
            low, high = _limits(_of(bounds, k, name, BOUNDS[name]), name, value)
        with_buffers = past or name != "lr"
        z = [
            [
                [torch.zeros_like(w, requires_grad=False) for w in group["params"] if w.requires_grad]
                for _ in range(1 + len(rule.buffers) * with_buffers)
            ]
            for group, rule in zip(groups, rules, strict=True)
        ]
        found.append(
            Tuned(k, name, value, low, high, _hyper_lr(_of(hyper_lr, k, name, hyper_lr), k, name), z)
        )
    return found, rules


def _check_keys(what: str, given: object, keys: Sequence[Key]) -> None:
    """Every key of a mapping must be about something that is tuned."""
    known = {*keys, *(name for _, name in keys)}
    for key in given if isinstance(given, Mapping) else ():
        if key not in known:
            raise ValueError(
                f"{what} has an entry {key!r}, which is not tuned: tune={sorted(known, key=str)}"
            )


def _of(given: object, group: int, name: str, default: object) -> Any:
    """The entry of (group, name), else of the name, else the default; a plain value is for all."""
    if not isinstance(given, Mapping):
        return default
    return given.get((group, name), given.get(name, default))


def _hyper_lr(value: Any, group: int, name: str) -> float:
    if isinstance(value, Mapping):
        raise ValueError(f"hyper_lr has no entry for {name!r} (of group {group}), which is tuned")
    if not (is_number(value) and 0 <= value < math.inf):
        raise ValueError(f"hyper_lr must be a finite number and not negative, not {shown(value)}")
    return float(value)


def _rate_bounds(
    tune: Sequence[str], bounds: PerName, lr_min: float, lr_max: float | None
) -> tuple[float, float] | None:
    """lr_min and lr_max, None where the rates have theirs in `bounds`."""
    for what, value in (("lr_min", lr_min), ("lr_max", lr_max)):
        if not is_number(value) and (what, value) != ("lr_max", None):
            raise ValueError(
                f"{what} must be a number, one for the rates of all groups, not {shown(value)}: "
                'give rates that differ in bounds={(0, "lr"): (low, high), ...}'
            )
    given = lr_min != 0 or lr_max is not None
    if given and "lr" not in tune:
        raise ValueError(
            f'lr_min and lr_max bound a rate that is tuned: add "lr" to tune={tune!r}, or leave them out'
        )
    in_bounds = any(key == "lr" or key[1:] == ("lr",) for key in bounds)
    if given and in_bounds:
        raise ValueError("give the bounds of the rate as lr_min and lr_max, or in bounds, not both")
    return None if in_bounds else (float(lr_min), math.inf if lr_max is None else float(lr_max))


def _check_rate(lr: float, low: float, high: float) -> None:
    if not (math.isfinite(low) and 0 <= low <= lr):
        raise ValueError(f"lr_min must lie between 0 and the start rate {lr:g}, not {low}")
    if not high >= lr:
        raise ValueError(f"lr_max must be at least the start rate {lr:g}, not {high}")


def _limits(given: Any, name: str, value: float) -> tuple[float, float]:
    """The given bounds, within what the rule allows."""
    least, most = BOUNDS[name]
    try:
        low, high = (float(x) for x in given)
    except (OverflowError, TypeError, ValueError):
        raise ValueError(f"bounds of {name!r} must be a pair of numbers, not {shown(given)}") from None
    low = max(low, KEEPS_BUFFER) if name == "momentum" and low >= 0 else low
    if not least <= low <= high <= most:
        raise ValueError(
            f"bounds of {name!r} must be a pair within [{least:g}, {most:g}], not {shown(given)}"
        )
    if not low <= value <= high:
        raise ValueError(f"the bounds [{low:g}, {high:g}] of {name!r} exclude its start {value!r}")
    return low, high
