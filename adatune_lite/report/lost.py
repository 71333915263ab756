"""The one rule of lost runs, for searches, tables and verdicts alike.

A run is lost if it diverged, or if its E is not below ln(classes), that of guessing among the classes of its
data set: steps that were huge and finite leave such runs. Where runs are ranked, every loss of a lost one
counts as ln(classes); its accuracy is its own where it finished, and 100 / classes where it diverged.

Those numbers are good for an order and for a median. They are no bell curve: over a cell with lost runs there
is no mean and no interval, and its differences are compared by an exact test (see `statistics.paired`).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields

from adatune_lite.runs.record import Record
from adatune_lite.tasks.sources import known

E = "validation_loss"
LOSSES = (E, "test_loss", "train_loss")
ACCURACIES = ("validation_accuracy", "test_accuracy")


@dataclass(frozen=True)
class Lost(Record):
    """A lost run as it counts where runs are ranked. It did not finish, whatever its record says."""

    @property
    def finished(self) -> bool:
        """Never."""
        return False

    @property
    def diverged(self) -> bool:
        """Always."""
        return True


def guessing(record: Record, name: str) -> float:
    """A loss, or an accuracy in percent, of guessing among the classes of the run's data set."""
    classes = known(record.spec.task.dataset).classes
    return 100 / classes if name.endswith("accuracy") else math.log(classes)


def is_lost(record: Record) -> bool:
    """Whether a run is lost. A run without E, which measures something else, is if it diverged."""
    loss = record.metrics.get(E, -math.inf if record.finished else math.nan)
    return not (record.finished and loss < guessing(record, E))


def count(records: Iterable[Record]) -> int:
    """How many are lost."""
    return sum(map(is_lost, records))


def kept(records: Iterable[Record]) -> list[Record]:
    """Those that are not lost."""
    return [record for record in records if not is_lost(record)]


def ranked(records: Iterable[Record]) -> list[Record]:
    """Runs as they count where they are ranked: the lost ones as `Lost`."""
    return [_counted(r) if is_lost(r) and not isinstance(r, Lost) else r for r in records]


def _counted(record: Record) -> Lost:
    losses = {name: guessing(record, name) for name in (*LOSSES, *record.metrics) if name.endswith("loss")}
    own = record.metrics if record.finished else {}
    accuracies = {name: own.get(name, guessing(record, name)) for name in ACCURACIES}
    metrics = {**record.metrics, **losses, **accuracies}
    return Lost(**{f.name: getattr(record, f.name) for f in fields(Record)} | {"metrics": metrics})


def metric(name: str) -> Callable[[Record], float]:
    """A final loss or accuracy of a run, as it counts where runs are ranked."""

    def of(record: Record) -> float:
        (counts,) = ranked([record])
        return counts.metrics[name]

    return of


def diverged_as_guessing(name: str) -> Callable[[Record], float]:
    """A final loss or accuracy; only where the run diverged that of guessing.

    This is how claims were judged before there was one rule, and their judges keep to it.
    """

    def of(record: Record) -> float:
        value = record.metrics.get(name, math.nan)
        return value if math.isfinite(value) else guessing(record, name)

    return of


def cannot_tell(seeds: Iterable[int]) -> str:
    """What to say under differences that are compared by the exact test on these numbers of seeds."""
    few = sorted({n for n in seeds if 2.0 ** (1 - n) > 0.05})
    if not few:
        return ""
    most = few[-1]
    return (
        "Where a run is lost, differences are compared by an exact sign-flip test: "
        f"with {most} seeds its p cannot go below {2.0 ** (1 - most):.2g}, so that {most} seeds cannot tell."
    )


def one_by_one(values: Sequence[float | None], lost: Sequence[bool], digits: int) -> str:
    """The runs of a cell in which some are lost: their median, each, and how many are lost."""
    gone = f"{sum(lost)} of {len(lost)} lost"
    if all(lost):
        return gone
    numbers = [value for value in values if value is not None]
    each = ", ".join("lost" if off else f"{x:.{digits}f}" for x, off in zip(values, lost, strict=True))
    return f"median {statistics.median(numbers):.{digits}f} ({each}); {gone}"
