"""What the checks of all experiments share."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence

from adatune_lite.runs.record import Record
from adatune_lite.training.spec import RunSpec


class InvariantError(AssertionError):
    """A record, or the code that makes it, breaks what must hold."""


def wrong_records(
    records: Iterable[Record],
    further: Callable[[Record, str], Iterator[str]],
    called: Callable[[RunSpec], str] = lambda spec: spec.method,
) -> list[str]:
    """What is wrong with records: neither finished nor diverged, or finished with a metric not finite.

    further: what else is wrong with a finished record, given its name in messages.
    called: what that name begins with; seed and hash follow.
    """
    wrong = []
    for record in records:
        name = f"{called(record.spec)} seed {record.spec.seed} ({record.spec.hash[:16]})"
        if not record.finished:
            if not record.diverged:
                wrong.append(f"{name} is {record.status}")
            continue
        wrong += [
            f"{name}: {m} is {value}" for m, value in record.metrics.items() if not math.isfinite(value)
        ]
        wrong += further(record, name)
    return wrong


def refuse(wrong: Sequence[str]) -> None:
    """Raises InvariantError with the first of what is wrong, if anything is."""
    if wrong:
        more = f"; and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise InvariantError("; ".join(wrong[:5]) + more)
