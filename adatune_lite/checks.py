"""What arguments must be: whole numbers, and numbers."""

from __future__ import annotations

from numbers import Integral, Real
from typing import TypeGuard


def whole(name: str, number: object, least: int) -> int:
    """The number as an int, numpy's too; raises ValueError with its name for anything else or too small."""
    if isinstance(number, bool) or not isinstance(number, Integral) or number < least:
        raise ValueError(f"{name} must be a whole number of at least {least}, not {number!r}")
    return int(number)


def is_number(value: object) -> TypeGuard[float]:
    """Whether it is a real number, numpy's too; True and False are none."""
    return isinstance(value, Real) and not isinstance(value, bool)


def plain(value: float | None) -> float | None:
    """A number as Python's own, for a saved state: `weights_only=True` reads nothing of numpy's."""
    return None if value is None else float(value)
