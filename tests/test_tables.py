"""Tables: rows and named columns, one comparison for all, Markdown and CSV from one place."""

from __future__ import annotations

import csv
import io
import math

import pytest
from small_page import SEEDS, Made, Small, accuracy

from adatune_lite.report.statistics import holm, paired
from adatune_lite.report.tables import (
    NONE,
    Column,
    Comparison,
    Mean,
    Row,
    Table,
    TableError,
    by_seed,
    named,
    rows,
)
from adatune_lite.training.spec import RunSpec

GAIN = {0.01: (0, 0, 0, 0, 0), 0.02: (2, 2.2, 1.9, 2.1, 2), 0.03: (0.1, -0.1, 0.2, -0.2, 0.1)}


def value(spec: RunSpec) -> float | None:
    return 90 + spec.seed + GAIN[spec.get("lr")][spec.seed] if spec.seed in SEEDS else None


def table(made: Made | None = None, **notes: str) -> Table:
    page = Small("desk", made or Made(value))
    given = [Row("reference", "the reference", page["reference"]), *rows(page, "rates", against="reference")]
    columns = [
        named("rate"),
        Column("accuracy", lambda row: Mean.of(row.records, accuracy), lambda mean: mean.text(1)),
        Comparison("minus the reference", accuracy),
        Column("runs", lambda row: len(row.records)),
    ]
    return Table(given, columns, **notes)


def test_a_page_shows_rows_columns_and_notes() -> None:
    text = table(above="Above.", below="Below.").markdown()
    above, body, below = text.split("\n\n")
    assert (above, below) == ("Above.", "Below.")
    head, line, *found = body.splitlines()
    assert head == "| rate | accuracy | minus the reference | p (Holm) | runs |"
    assert line == "|---|---|---|---|---|"
    assert [row.split(" | ")[0] for row in found] == ["| the reference", "| rate 0.02", "| rate 0.03"]
    assert found[0].endswith("|  |  | 5 |") and "+2.04 (95 % interval +1.90 to +2.18)" in found[1]


def test_all_differences_of_a_table_are_one_family() -> None:
    page = Small("desk", Made(value))
    reference = by_seed(page["reference"], accuracy)
    pairs = [paired(by_seed(records, accuracy), reference) for records in page.by("rates").values()]
    alone = [2 * min(pair.less, pair.greater) for pair in pairs if pair]
    assert table()["p (Holm)"] == [None, *holm(alone)] and holm(alone)[0] == pytest.approx(2 * alone[0])
    assert [round(d.mean, 2) for d in table()["minus the reference"][1:]] == [2.04, 0.02]


def test_csv_has_the_values_in_full() -> None:
    found = list(csv.DictReader(io.StringIO(table(above="Above.").csv())))
    assert list(found[0]) == [
        *("rate", "accuracy", "accuracy, low", "accuracy, high", "accuracy, n", "accuracy, runs"),
        *(
            "accuracy, values",
            "accuracy, gone",
            "minus the reference",
            "minus the reference, low",
            "minus the reference, high",
        ),
        *("minus the reference, n", "p (Holm)", "runs"),
    ]
    assert [row["rate"] for row in found] == ["the reference", "rate 0.02", "rate 0.03"]
    assert float(found[1]["accuracy"]) == pytest.approx(94.04) and found[1]["accuracy, n"] == "5"
    assert found[0]["minus the reference"] == found[0]["p (Holm)"] == "", "nothing, not 0 or None"
    assert float(found[1]["p (Holm)"]) == table()["p (Holm)"][1]


def test_a_column_is_headed_as_the_page_has_room_and_nothing_is_an_empty_cell() -> None:
    columns = [
        Column("cost, 3 samples", float, "{:.1f} %", head="3 samples"),
        Column("more", lambda row: None),
    ]
    found = Table([1.0, math.nan], columns)
    assert found.markdown().splitlines() == ["| 3 samples | more |", "|---|---|", "| 1.0 % |  |", "|  |  |"]
    assert found.csv() == '"cost, 3 samples",more\n1.0,\n,\n' and found["cost, 3 samples"][0] == 1


def test_rows_without_records_are_not_shown_and_none_is_said() -> None:
    part = table(Made(lambda spec: None if spec.get("lr") == 0.03 else value(spec)))
    assert [row.key for row in part.shown] == ["reference", 0.02]
    no_reference = table(Made(lambda spec: None if spec.get("lr") == 0.01 else value(spec)))
    assert no_reference["minus the reference"] == [None, None], "known, only not made yet"
    empty = Table(part.rows[2:], [named("rate")], above="Above.", below="Below.")
    assert empty.markdown() == str(empty) == NONE and empty.csv() == "rate\n"


def test_a_cell_with_a_lost_run_has_no_mean_and_an_exact_test() -> None:
    made = Made(lambda spec: math.nan if (spec.get("lr"), spec.seed) == (0.02, 0) else value(spec))
    part = table(made)
    mean, whole = part["accuracy"][1:]
    assert (mean.interval, mean.runs, mean.lost) == (None, 5, 1) and whole.interval is not None
    assert mean.numbers[0] == 10 and mean.text(1) == "median 93.9 (lost, 93.2, 93.9, 95.1, 96.0); 1 of 5 lost"
    text = part.markdown()
    assert "| median +2.00 (-80.00, +2.20, +1.90, +2.10, +2.00) | 1 | 5 |" in text
    assert text.endswith("with 5 seeds its p cannot go below 0.062, so that 5 seeds cannot tell.")
    assert "cannot tell" not in table().markdown()
    assert part["p (Holm)"] == [None, 1.0, 1.0], "two tests are still one family"
    cells = list(csv.DictReader(io.StringIO(part.csv())))
    assert cells[1]["accuracy"] == cells[1]["accuracy, low"] == ""
    assert cells[1]["accuracy, gone"] == "True False False False False"
    assert cells[1]["minus the reference, median"] == "2.0" and cells[1]["minus the reference"] == ""
    assert Mean.of([], accuracy) is None


def test_one_seed_has_a_difference_and_no_p() -> None:
    found = table(Made(lambda spec: value(spec) if spec.seed == 0 else None))
    assert found["p (Holm)"] == [None] * 3 and "| +2.00 |  | 1 |" in found.markdown()


def test_the_other_way_round() -> None:
    given = table().rows
    turned = Comparison("reference minus it", accuracy, reverse=True, p_name="")
    found = Table(given, [named("rate"), turned])
    assert [round(d.mean, 2) for d in found["reference minus it"][1:]] == [-2.04, -0.02]
    assert "p (Holm)" not in found.markdown()


def test_what_cannot_be_is_refused_in_a_sentence() -> None:
    with pytest.raises(TableError) as error:
        table()["acuracy"]
    assert str(error.value) == (
        "the table has no column 'acuracy'; it has rate, accuracy, minus the reference, p (Holm), runs"
    )
    orphan = [Row("a", "row a", [], against="b"), Row("c", "row c", [])]
    with pytest.raises(TableError, match="the row 'row a' is compared with 'b', which is no row"):
        Table(orphan, [Comparison("minus b", accuracy)])
    with pytest.raises(TableError, match="two columns 'rate'"):
        Table([], [named("rate"), named("rate")])
