"""Tables of rows and named columns, with one writer for Markdown and for CSV.

A row is anything; mostly it is a `Row`, some records under a name. A `Column` takes a value from a row and
knows how a page writes it; CSV has the value itself, of a mean its interval and its runs in columns of their
own. A `Comparison` stands for two columns: each row by seed against the row that it names, as a difference
with its interval, and the p of the paired test after Holm over the rows of the table.

Over a cell with lost runs (see `lost`) there is no mean and no interval: its runs stand there one by one with
their median, the test of its differences is an exact one, and the table says what so few seeds cannot tell.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from statistics import fmean, median
from typing import Any

from adatune_lite.report import lost
from adatune_lite.report.groups import Page, Part
from adatune_lite.report.search import Choice
from adatune_lite.report.statistics import BySeed, Interval, Paired, holm, mean_interval, paired
from adatune_lite.runs.record import Record

NONE = "*No records yet.*"
Value = Callable[[Record], float | None]
"""A number of one run; None leaves the run out."""


class TableError(LookupError):
    """A column that a table does not have or has twice, or a row whose reference it lacks."""

    def __str__(self) -> str:
        return str(self.args[0])


@dataclass(frozen=True)
class Row:
    """Some runs that differ in their seed alone; without records a page does not show it."""

    key: Any
    name: str
    records: Sequence[Record]
    against: Hashable = None
    """Key of the row that it is compared with."""


def rows(page: Page[Any], *prefix: Part, against: Hashable = None) -> list[Row]:
    """A row for each group under a key, by the rest of the key; against: the one that the others have."""
    return [
        Row(rest, group.name, page[group.key], None if rest == against else against)
        for rest, group in page.under(*prefix).items()
    ]


@dataclass(frozen=True)
class Mean:
    """A number over the runs of a cell."""

    interval: Interval | None
    """Its mean; None where a run is lost."""
    runs: int
    values: tuple[float | None, ...]
    """Of the runs that have it; of lost ones what they count as, if they count at all."""
    gone: tuple[bool, ...]
    """Which of them are lost."""

    @classmethod
    def of(cls, records: Sequence[Record], value: Value) -> Mean | None:
        """None where no run has the number."""
        every = [(value(r), isinstance(r, lost.Lost)) for r in lost.ranked(records)]
        given = [(x, gone) for x, gone in every if gone or x is not None]
        values, gone = [x for x, _ in given], [lost for _, lost in given]
        mean = cls(None, len(records), tuple(values), tuple(gone))
        if not mean.numbers:
            return None
        return mean if any(gone) else replace(mean, interval=mean_interval(mean.numbers))

    @property
    def numbers(self) -> list[float]:
        """What its runs count as."""
        return [x for x in self.values if x is not None]

    @property
    def rank(self) -> float:
        """What cells are ordered by: the mean of what their runs count as."""
        return fmean(self.numbers)

    @property
    def median(self) -> float:
        """Of what the runs count as."""
        return median(self.numbers)

    @property
    def middle(self) -> float:
        """What a figure marks: the mean, or the median where runs are lost."""
        return self.median if self.interval is None else self.interval.mean

    @property
    def bars(self) -> list[list[float]] | None:
        """The 95 % interval as a figure draws it around the mean, if there is one."""
        return self.interval.bars if self.interval else None

    @property
    def lost(self) -> int:
        """How many runs are lost."""
        return sum(self.gone)

    def text(self, digits: int) -> str:
        """The mean with its interval; the runs one by one where some are lost."""
        if self.interval is None:
            return lost.one_by_one(self.values, self.gone, digits)
        return self.interval.text(digits)


class Columns:
    """One column of a table or several that belong together."""

    def columns(self, given: Sequence[Any]) -> list[Column]:
        """They, for these rows."""
        raise NotImplementedError


@dataclass(frozen=True)
class Column(Columns):
    """A named column: the value of a row (None or NaN: an empty cell), and how it is written on a page."""

    name: str
    of: Callable[[Any], Any]
    form: str | Callable[[Any], str] = "{}"
    """A format, or a function of the value."""
    head: str = ""
    """What a page writes above it in place of its name, where the column before it says the rest."""

    def columns(self, given: Sequence[Any]) -> list[Column]:
        return [self]

    def text(self, row: Any) -> str:
        """The cell of a page."""
        value = self.of(row)
        if value is None or (isinstance(value, float) and math.isnan(value)):
            return ""
        return self.form.format(value) if isinstance(self.form, str) else self.form(value)


def averaged(name: str, value: Value, digits: int = 3) -> Column:
    """The column of a mean over the runs of a row."""
    return Column(name, lambda row: Mean.of(row.records, value), lambda mean: mean.text(digits))


def tuning_loss(of: Callable[[Any], Choice | None]) -> Column:
    """The column of the mean E of what searches chose; the seeds one by one where some are lost."""

    def value(row: Any) -> float | str | None:
        choice = of(row)
        if choice is None or not any(choice.gone):
            return choice.mean_loss if choice else None
        return lost.one_by_one(choice.losses, choice.gone, 4)

    return Column("mean E on tuning seeds", value, lambda x: x if isinstance(x, str) else f"{x:.4f}")


def runs_and_lost(name: str = "runs (lost)") -> Column:
    """How many runs a row has, and how many of them are lost."""
    return Column(name, lambda row: f"{len(row.records)} ({lost.count(row.records)})")


def named(name: str) -> Column:
    """The column of the rows' names."""
    return Column(name, lambda row: row.name)


@dataclass(frozen=True)
class Compared:
    """A row beside the one that it is compared with."""

    pair: Paired
    p: float | None
    """Two-sided, after Holm over the table; None for a single seed."""

    @property
    def sure(self) -> bool:
        """Whether it is below 0.05."""
        return self.p is not None and self.p < 0.05


def compare(pairs: Mapping[Any, Paired | None]) -> dict[Any, Compared]:
    """Paired differences as one family; what has no common seed is left out."""
    there = {key: pair for key, pair in pairs.items() if pair is not None}
    tested = {key: pair for key, pair in there.items() if len(pair.seeds) > 1}
    p_values = holm([min(1.0, 2 * min(pair.less, pair.greater)) for pair in tested.values()])
    found = dict(zip(tested, p_values, strict=True))
    return {key: Compared(pair, found.get(key)) for key, pair in there.items()}


def by_seed(records: Iterable[Record], value: Value) -> BySeed:
    """A number of each run that has it, by its seed."""
    held = {record.spec.seed: record for record in records}
    found = BySeed((seed, number) for seed, r in held.items() if (number := value(r)) is not None)
    found.lost = frozenset(seed for seed in found if isinstance(held[seed], lost.Lost))
    return found


def against(ours: Iterable[Record], theirs: Iterable[Record], value: Value) -> Paired | None:
    """Two groups of runs compared by seed, lost ones as they count; None without a common seed."""
    return paired(*(by_seed(lost.ranked(records), value) for records in (ours, theirs)))


def values_of(records: Iterable[Record], value: Value) -> list[float]:
    """A number of each run that has it, in their order."""
    return [number for record in records if (number := value(record)) is not None]


@dataclass(frozen=True)
class Seeds:
    """Differences seed by seed, where runs are lost."""

    median: float
    differences: tuple[float, ...]

    @classmethod
    def of(cls, pair: Paired) -> Seeds | None:
        """None where no run is lost."""
        return cls(pair.median, pair.differences) if pair.exact else None

    def text(self, digits: int) -> str:
        """The median and each."""
        return f"median {self.median:+.{digits}f} ({', '.join(f'{d:+.{digits}f}' for d in self.differences)})"


def told(pair: Paired, digits: int = 2) -> str:
    """A difference in words: its mean with its interval, or seed by seed where runs are lost."""
    seeds = Seeds.of(pair)
    return seeds.text(digits) if seeds else signed(pair.difference, digits)


@dataclass(frozen=True)
class Comparison(Columns):
    """Two columns: a number of each row minus that of the row it names, by seed, and p."""

    name: str
    value: Value
    reverse: bool = False
    """That of the other row minus that of the row."""
    p_name: str = "p (Holm)"
    """Empty: without that column."""
    digits: int = 2

    def compared(self, given: Sequence[Row]) -> dict[Hashable, Compared]:
        """By the key of the row, of all rows that name another and share a seed with it.

        Raises TableError for a row that names one which is not there.
        """
        found = {row.key: by_seed(lost.ranked(row.records), self.value) for row in given}
        pairs: dict[Hashable, Paired | None] = {}
        for row in given:
            if row.against is None:
                continue
            if row.against not in found:
                raise TableError(
                    f"the row {row.name!r} is compared with {row.against!r}, which is no row of the table; "
                    f"there are {', '.join(str(other.key) for other in given)}"
                )
            sides = found[row.key], found[row.against]
            pairs[row.key] = paired(*(sides[::-1] if self.reverse else sides))
        return compare(pairs)

    def columns(self, given: Sequence[Row]) -> list[Column]:
        compared = self.compared(given)

        def of(row: Row, what: Callable[[Compared], Any]) -> Any:
            return what(compared[row.key]) if row.key in compared else None

        difference = Column(
            self.name,
            lambda row: of(row, lambda found: Seeds.of(found.pair) or found.pair.difference),
            lambda found: found.text(self.digits) if isinstance(found, Seeds) else signed(found, self.digits),
        )
        p = Column(self.p_name, lambda row: of(row, lambda found: found.p), "{:.2g}")
        return [difference, p] if self.p_name else [difference]


@dataclass(frozen=True)
class Table:
    """Rows and columns, with what stands above and below them."""

    rows: Sequence[Any]
    columns: Sequence[Columns]
    above: str = ""
    below: str = ""
    empty: str = NONE
    """What is said in place of a table without rows."""
    _columns: list[Column] = field(init=False)

    def __post_init__(self) -> None:
        known = [column for part in self.columns for column in part.columns(self.rows)]
        names = [column.name for column in known]
        for name in names:
            if names.count(name) > 1:
                raise TableError(f"the table has two columns {name!r}: a name is one column")
        object.__setattr__(self, "_columns", known)

    @property
    def shown(self) -> list[Any]:
        """Its rows without those that have no records."""
        return [row for row in self.rows if not isinstance(row, Row) or row.records]

    def compared(self) -> list[tuple[Row, Compared]]:
        """Its rows with the numbers of its first comparison, those that have some."""
        comparison = next(column for column in self.columns if isinstance(column, Comparison))
        found = comparison.compared(self.rows)
        return [(row, found[row.key]) for row in self.shown if row.key in found]

    def __getitem__(self, name: str) -> list[Any]:
        """The values of one column. Raises TableError for a name that is none."""
        for column in self._columns:
            if column.name == name:
                return [column.of(row) for row in self.shown]
        names = ", ".join(column.name for column in self._columns)
        raise TableError(f"the table has no column {name!r}; it has {names}")

    def __str__(self) -> str:
        return self.markdown()

    def markdown(self) -> str:
        """The table with its notes, as a page shows it."""
        if not self.shown:
            return self.empty
        head = [column.head or column.name for column in self._columns]
        body = [[column.text(row) for column in self._columns] for row in self.shown]
        lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
        table = "\n".join([*lines, *(f"| {' | '.join(cells)} |" for cells in body)])
        return paragraphs(self.above, table, self._note(), self.below)

    def _note(self) -> str:
        """What the exact tests of its differences cannot tell."""
        parts = [part.compared(self.rows) for part in self.columns if isinstance(part, Comparison)]
        pairs = [found.pair for part in parts for found in part.values()]
        return lost.cannot_tell(len(pair.seeds) for pair in pairs if pair.exact)

    def csv(self) -> str:
        """The values in full, a line for each row under a line of names."""
        parts = [_flat(column.name, [column.of(row) for row in self.shown]) for column in self._columns]
        columns = {name: values for part in parts for name, values in part.items()}
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
        return file.getvalue()


def _flat(name: str, values: Sequence[Any]) -> dict[str, list[Any]]:
    """The columns that one column is in CSV: of an interval or a mean each number has its own."""
    parts = [dict(_numbers("", value)) for value in values]
    ends = dict.fromkeys(end for part in parts for end in part) or {"": None}
    return {name + end: [part.get(end, "") for part in parts] for end in ends}


def _numbers(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if is_dataclass(value):
        for part in fields(value):
            first = part.name in ("mean", "interval")
            yield from _numbers(name if first else f"{name}, {part.name}", getattr(value, part.name))
    elif isinstance(value, tuple):
        yield name, " ".join(map(str, value))
    elif value is not None and not (isinstance(value, float) and math.isnan(value)):
        yield name, value


def signed(found: Interval, digits: int = 2) -> str:
    """A mean difference with its interval, where there is one."""
    text = f"{found.mean:+.{digits}f}"
    if found.n < 2:
        return text
    return f"{text} (95 % interval {found.low:+.{digits}f} to {found.high:+.{digits}f})"


def several(count: int, what: str) -> str:
    """A count with its noun."""
    return f"{count} {what}" + ("" if count == 1 else "s")


def paragraphs(*texts: str) -> str:
    """Those that are not empty, one below the other."""
    return "\n\n".join(filter(None, texts))
