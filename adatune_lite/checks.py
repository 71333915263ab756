"""What arguments must be: whole numbers, numbers, truth values, names, functions, sequences of numbers."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterable, Mapping, Set
from numbers import Integral, Real
from typing import TypeGuard

from torch import Tensor

MOST = 2**63
"""What whole numbers stay below."""


def shown(value: object) -> str:
    """A value in a sentence, cut where it is long."""
    try:
        text = " ".join(repr(value).split())
    except Exception:  # whole numbers of very many digits have no repr
        text = f"a {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:77]}..."


def whole(name: str, number: object, least: int) -> int:
    """The number as an int, numpy's too; raises ValueError with its name for anything else."""
    if isinstance(number, bool) or not isinstance(number, Integral) or number < least:
        raise ValueError(f"{name} must be a whole number of at least {least}, not {shown(number)}")
    if int(number) >= MOST:
        raise ValueError(f"{name} must be a whole number below 2^63, not {shown(number)}")
    return int(number)


def is_number(value: object) -> TypeGuard[float]:
    """Whether it is a real number that a float can hold, numpy's too; True and False are none."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return False
    try:
        float(value)
    except OverflowError:
        return False
    return True


def is_count(value: object) -> TypeGuard[int]:
    """Whether it is a whole number of at least 0, as a saved state holds it."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MOST


def plain(value: float | None) -> float | None:
    """A number as Python's own, for a saved state: `weights_only=True` reads nothing of numpy's."""
    return None if value is None else float(value)


def truth(name: str, value: object) -> bool:
    """The value, which must be True or False; raises ValueError with its name."""
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be True or False, not {shown(value)}")
    return value


def one_of(name: str, value: object, allowed: Collection[str]) -> str:
    """The value, which must be one of these names; raises ValueError with its name."""
    if not isinstance(value, str) or value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, not {shown(value)}")
    return value


def function(name: str, value: object, *arguments: object, wanted: str = "a function") -> None:
    """Raises ValueError, with its name, for what cannot be called with such arguments."""
    if not callable(value):
        raise ValueError(f"{name} must be {wanted}, not {shown(value)}")
    try:
        found = inspect.signature(value)
    except (TypeError, ValueError):  # of TorchScript and of some builtins nothing is known
        return
    try:
        found.bind(*arguments)
    except TypeError as error:
        raise ValueError(
            f"{name} must be {wanted}, called with {len(arguments)} arguments, and this one takes "
            f"({', '.join(found.parameters)})"
        ) from error


def numbers(name: str, values: object, of: str = "numbers") -> list[float]:
    """A sequence, array or tensor of numbers [n] as plain floats; raises ValueError with its name."""
    if isinstance(values, Tensor):
        if values.dim() != 1:
            raise ValueError(f"{name} is one-dimensional; this one has shape {tuple(values.shape)}")
        if values.device.type != "meta":  # read at once, and not one by one from a device
            values = values.tolist()
    if isinstance(values, str | bytes | Mapping | Set) or not isinstance(values, Iterable):
        raise ValueError(f"{name} is a sequence of {of}, one for each step, not {shown(values)}")
    found = [x.item() if isinstance(x, Tensor) and _is_read(x) else x for x in values]
    for t, x in enumerate(found):
        if not is_number(x):
            raise ValueError(f"{name} is a sequence of {of}, one for each step, and has {shown(x)} at {t}")
    return [float(x) for x in found]


def _is_read(x: Tensor) -> bool:
    return x.numel() == 1 and x.device.type != "meta"
