"""What tuned values save, and whether a saved one belongs to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from adatune_lite.checks import is_number, shown
from adatune_lite.rules import Tensors
from adatune_lite.tuners.tuned import Tuned


def save(tuned: Sequence[Tuned]) -> list[list[Any]]:
    """[group, name, value, hypergradient, Z] of each, Z copied."""
    return [[x.group, x.name, x.value, x.hypergradient, _copied(x.z)] for x in tuned]


def check(tuned: Sequence[Tuned], saved: Sequence[Any]) -> None:
    """Raises ValueError for a state of other values, weights, rules or bounds, or of another form."""
    if not isinstance(saved, list) or not all(isinstance(x, list) and len(x) == 5 for x in saved):
        raise ValueError("what this state tunes must be a list of [group, name, value, hypergradient, Z]")
    names = [(group, name) for group, name, *_ in saved]
    own = [(x.group, x.name) for x in tuned]
    if names != own:
        raise ValueError(f"this state tunes {names}, this tuner {own}")
    for x, (_, _, value, hypergradient, z) in zip(tuned, saved, strict=True):
        if not (is_number(value) and x.low <= value <= x.high and x.fits(value)):
            raise ValueError(
                f"this state has {shown(value)} for {x.name!r} of group {x.group}, and this tuner's "
                f"bounds are [{x.low:g}, {x.high:g}]: make the tuner with the bounds of the one that saved it"
            )
        if not is_number(hypergradient):
            raise ValueError(f"a hypergradient of this state must be a number, not {shown(hypergradient)}")
        if _shapes(z) != _shapes(x.z):
            raise ValueError("this state belongs to other weights or another rule: the shapes of Z differ")
        for part, kept in zip(_flat(x.z), _flat(z), strict=True):
            if part.dtype != kept.dtype:
                raise ValueError(f"Z of this state is in {kept.dtype}, and the weights are in {part.dtype}")
            if not kept.isfinite().all():
                raise ValueError("Z of this state is not finite: it is not as one was saved")


def load(tuned: Sequence[Tuned], saved: Sequence[Any]) -> None:
    """Take up what `save` gave, Z in place."""
    for x, (_, _, value, hypergradient, z) in zip(tuned, saved, strict=True):
        x.value, x.hypergradient = value, hypergradient
        for part, kept in zip(_flat(x.z), _flat(z), strict=True):
            part.copy_(kept.detach())


def _copied(z: list[list[Tensors]]) -> list[list[Tensors]]:
    return [[[x.clone() for x in part] for part in parts] for parts in z]


def _flat(z: list[list[Tensors]]) -> Tensors:
    return [x for parts in z for part in parts for x in part]


def _shapes(z: list[list[Tensors]]) -> list[list[list[tuple[int, ...]]]]:
    return [[[tuple(x.shape) for x in part] for part in parts] for parts in z]
