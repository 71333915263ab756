"""Experiments 03 and 04 as a whole, at the smoke profile, on the embedded digits."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from smoke_runs import Changed, Smoke

from adatune_lite.experiments import quadratic_fit, superbatch
from adatune_lite.experiments.autolr_tasks import base
from adatune_lite.experiments.invariants import InvariantError
from adatune_lite.experiments.quadratic_fit import invariants as invariants_03
from adatune_lite.experiments.quadratic_fit import plots as plots_03
from adatune_lite.experiments.quadratic_fit import tables as tables_03
from adatune_lite.experiments.quadratic_fit.groups import threshold
from adatune_lite.experiments.quadratic_fit.reading import Fits, breakdown, inside, outside, probes
from adatune_lite.experiments.superbatch import invariants as invariants_04
from adatune_lite.experiments.superbatch import overhead
from adatune_lite.experiments.superbatch import tables as tables_04
from adatune_lite.experiments.superbatch.groups import Scale
from adatune_lite.experiments.superbatch.reading import Measured, at_bound, slope
from adatune_lite.plotting import panels
from adatune_lite.runs.record import Record
from adatune_lite.runs.store import Store
from adatune_lite.runs.worker import Planned
from adatune_lite.training.outcome import Outcome, Series
from adatune_lite.training.quadratic import GRID


@pytest.fixture(scope="module")
def fits(smoke: Smoke) -> Any:
    return smoke(quadratic_fit)


@pytest.fixture(scope="module")
def sizes(smoke: Smoke) -> Any:
    return smoke(superbatch)


def test_the_trust_bound_is_that_of_the_data_set() -> None:
    at = {p.spec.task.dataset: threshold(p.spec.task) for p in _planned("paper")}
    assert at == {"cifar10": 5e-3, "mnist": 1e-3, "fashion_mnist": 1e-3}
    assert {threshold(p.spec.task) for p in _planned("smoke")} == {1e-3}


def _planned(profile: str) -> list[Planned]:
    return quadratic_fit.plan(profile, Store(Path("nowhere")))


def test_the_table_of_fits_covers_every_run_once(fits: Any) -> None:
    rows = fits.table
    assert sum(len(row.records) for row in rows) == len(fits.all_records())
    assert {row.optimizer for row in rows} == {"SGD", "momentum", "Adam"}
    by_rate = {(row.optimizer, row.records[0].spec.get("lr")): row for row in rows}
    assert ("SGD", 0.1) in by_rate and ("SGD", 0.01) in by_rate
    slow = by_rate["SGD", 0.01]
    assert slow.quantile(lambda p: p.five.r2) > 0.999, "a small step of a network with few kinks"
    assert slow.quantile(lambda p: p.five.radius) >= 1
    assert all(len(row.found) == 4 * len(row.records) for row in rows)
    assert all(0 <= share <= 1 for share in tables_03.fits(fits)["convex"])


def made_up(losses: Any, low: float, there: float) -> Record:
    spec = dataclasses.replace(_planned("smoke")[0].spec, steps=10)
    series = {
        "line 10": [losses(u) for u in GRID],
        "fit_minimum": Series([low], [10]),
        "loss_at_minimum": Series([there], [10]),
        "probe_lr": Series([0.1], [10]),
    }
    return Record.of(spec, Outcome("finished", series), code="0" * 64, device="cpu")


def test_a_probe_reads_what_was_measured() -> None:
    """L = 2 + (u - 0.3)^2 exactly, and a true loss at 0.3 that is 1 % above the parabola's 2."""
    (probe,) = probes(made_up(lambda u: 2 + (u - 0.3) ** 2, 0.3, 2.02))
    assert (probe.step, probe.lr) == (10, 0.1)
    assert probe.most == 0.5, "(1e-3 * 2.09)^(1/3) is more than half the rate"
    assert probe.five.r2 == pytest.approx(1) and probe.wide_r2 == pytest.approx(1)
    assert probe.minimum == pytest.approx(0.3) and probe.minimum_error == pytest.approx(0.02 / 2.02)
    assert probe.move == pytest.approx(0.3) and probe.move_3 == pytest.approx(0.3)
    found = Fits(("main", "sgd"), "", [], probes=[[probe]])
    assert found.quantile(lambda p: p.minimum_error, among=outside) == pytest.approx(0.02 / 2.02)
    assert math.isnan(found.quantile(lambda p: p.minimum_error, among=inside))
    (cubic,) = probes(made_up(lambda u: 2 + (u - 0.3) ** 2 + u**3, 0.3, 2.02))
    assert cubic.wide_r2 < cubic.five.r2 < 1
    assert cubic.five.radius < cubic.radius_5 < 4


def test_a_predicted_minimum_below_all_losses_is_in_the_picture() -> None:
    """Beyond the samples the loss is flat, so that the parabola through them is lowest below it."""
    (probe,) = probes(made_up(lambda u: 1 + (min(max(u, -0.2), 0.2) + 0.6) ** 2, -0.6, 1.16))
    figure, (panel,) = panels()
    plots_03._one(panel, probe, far=True)
    (circle,) = (line for line in panel.lines if line.get_label() == "its minimum")
    assert circle.get_ydata()[0] == pytest.approx(1) and min(probe.losses) == pytest.approx(1.16)
    figure.canvas.draw()
    drawn, frame = circle.get_window_extent(), panel.get_window_extent()
    assert frame.y0 <= drawn.y0 and drawn.y1 <= frame.y1


def test_further_tasks_have_the_seeds_of_both_groups_and_no_run_is_told_twice(tmp_path: Path) -> None:
    desk = quadratic_fit.results("desk", Store(tmp_path))
    cifar10 = desk.under("others", "adam", "cifar10", "resnet18")
    assert [s.seed for group in cifar10.values() for s in group.specs] == [0, 1, 2, 3, 4]
    assert [group.role.name for group in cifar10.values()] == ["others", "repeated"]
    for key, group in desk.groups.items():
        used = {(s.optimizer, s.optimizer_settings) for s in group.specs}
        assert used <= {(b.optimizer, b.options) for b in (base(key[1], s.task) for s in group.specs)}


def test_the_groups_of_superbatches_have_every_size(sizes: Any) -> None:
    (row,) = sizes.measured
    assert [cell.size for cell in row.cells] == [1, 2, 5, 10]
    assert np.median(row.cells[0].spread) > np.median(row.cells[-1].spread) > 0
    assert slope(row.records[0]) == pytest.approx(-0.5, abs=0.25)  # 10 draws a size
    assert tables_04.sizes(sizes)["mini-batches"] == [1, 2, 5, 10]


def test_cost_is_that_of_appendix_c() -> None:
    assert overhead(5, 100) == pytest.approx(500 / 30)
    assert overhead(3, 50) == pytest.approx(5.0)


def test_slope_of_independent_mini_batches_is_a_half() -> None:
    count = 20  # measured
    spreads = {
        f"loss_std {s}": Series([0.3 * math.sqrt((1 - s / count) / s)] * 2, [1, 2]) for s in (1, 2, 5, 10)
    }
    assert slope(made_up_sizes(spreads)) == pytest.approx(-0.5, abs=1e-6)


def made_up_sizes(series: dict[str, Any]) -> Record:
    (planned,) = superbatch.plan("smoke", Store(Path("nowhere")))
    return Record.of(planned.spec, Outcome("finished", series), code="0" * 64, device="cpu")


def test_the_smallest_superbatch_is_one_from_which_on_all_decide_alike() -> None:
    def smallest(samples: int, *cells: tuple[float, float]) -> int | None:
        """Of sizes that agree so often and are so far away, with 5 samples; with 3 none agrees."""
        series = {}
        for size, (agree, error) in zip((1, 2, 5, 10), cells, strict=True):
            for name, value in (("agree_5", agree), ("agree_3", 0.0), ("error_5", error), ("error_3", error)):
                series[f"{name} {size}"] = Series([value] * 2, [1, 2])
        found = Measured(("mnist", "mlp", "momentum"), "", [made_up_sizes(series)]).smallest(samples)
        return found.size if found else None

    cells = ((1.0, 0.05), (0.9, 0.05), (0.96, 0.05), (0.99, 0.01))
    assert smallest(5, *cells) == 5, "one mini-batch did by chance, two did not"
    assert smallest(3, *cells) is None
    assert smallest(5, *cells[:3], (1.0, 0.2)) is None


def replaced(record: Record, name: str, values: list[float]) -> dict[str, Any]:
    stored = {**record.stored, name: {**record.stored[name], "values": values}}
    return {"stored": stored}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"status": "stopped by budget"}, "is stopped by budget"),
        ({"probe_lr": [0.1, 0.1, 0.1, 0.2]}, "a constant rate is not constant"),
        ({"fit_minimum": [0.7, 0.7, 0.7, 0.7]}, "the minimum was at 0.7, and from the record"),
        ({"line 80": [math.nan] * len(GRID)}, "before or after the step is not finite"),
    ],
)
def test_03_check_raises_when_a_record_breaks_an_invariant(
    fits: Any, change: dict[str, Any], words: str
) -> None:
    record = fits["main", "sgd"][0]
    (name, value), *_ = change.items()
    broken = dataclasses.replace(record, **(change if name == "status" else replaced(record, name, value)))
    with pytest.raises(InvariantError, match=words):
        invariants_03.check(
            quadratic_fit.reading.Results("smoke", Changed(fits.store, {record.spec.hash: broken}))
        )


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("loss", -1.0, "not finite or not positive"),
        ("move", 0.6, "a move is beyond 0.5 of the rate"),
        ("agree_3 5", 1.2, "agree_3 5 is no share"),
        ("error_5 2", 1.3, "error_5 2 is beyond twice the reach"),
        ("loss_std 10", 9.0, "the loss of 10 mini-batches spreads more than that of 1"),
    ],
)
def test_04_check_raises_when_a_record_breaks_an_invariant(
    sizes: Any, name: str, value: float, words: str
) -> None:
    record = sizes.all_records()[0]
    count = len(record.series(name)[1])
    broken = dataclasses.replace(record, **replaced(record, name, [value] * count))
    with pytest.raises(InvariantError, match=words):
        invariants_04.check(
            superbatch.reading.Results("smoke", Changed(sizes.store, {record.spec.hash: broken}))
        )


def test_desk_is_what_the_issue_asks_for() -> None:
    desk = quadratic_fit.PROFILES["desk"]
    assert desk.main.model == "conv4" and desk.main.train == 10_000 and len(desk.seeds) == 5
    assert desk.probes >= 50, "the claims ask for 50 recomputations of one run"
    scale: Scale = superbatch.PROFILES["desk"]
    assert len(scale.seeds) == 5
    for task, measured in scale.tasks.items():
        assert 200 <= measured <= task.train // task.batch, "sizes up to 100 are compared"
    assert np.isclose(overhead(5, 100), 100 / 6)


def test_pages_without_records_say_what_is_missing_and_what_arithmetic_knows(tmp_path: Path) -> None:
    fits, sizes = (m.results("smoke", Store(tmp_path)) for m in (quadratic_fit, superbatch))
    assert "missing: 6" in tables_03.setting(fits) and "missing: 1" in tables_04.setting(sizes)
    assert "16.7 % |  |" in str(tables_04.costs(sizes)), "arithmetic needs no run, a count does"


def test_the_tables_say_what_was_measured(fits: Any, sizes: Any) -> None:
    text = str(tables_03.fits(fits))
    assert text.count("\n") == len(fits.table) + 1
    assert "digits, dense, SGD, rate 0.01" in text
    assert str(tables_04.sizes(sizes)).count("\n") == 4 + 1 + 2
    assert str(tables_04.costs(sizes)).count("| 16.7 % | 16.7 % |") == 1, "counted as appendix C counts"
    assert "reduced scale" in tables_03.setting(fits) and "reduced scale" in tables_04.setting(sizes)


def test_moves_to_the_bound_are_counted(sizes: Any) -> None:
    """At a rate of 0.1 the bound is half of the rate, or less where (1e-3 L)^(1/3) is below 0.05."""
    (record,) = sizes.all_records()
    lrs, losses = record.series("probe_lr")[1], record.series("loss")[1]
    most = np.minimum(0.5, (1e-3 * losses) ** (1 / 3) / lrs)
    inside = dataclasses.replace(record, **replaced(record, "move", list(0.9 * most)))
    mixed = dataclasses.replace(record, **replaced(record, "move", [-most[0], *(0.1 * most[1:])]))
    assert at_bound(mixed).tolist() == [True, False] and not at_bound(inside).any()
    again = superbatch.reading.Results("smoke", Changed(sizes.store, {record.spec.hash: mixed}))
    assert "to the bound at 1 of 2 measured steps (50%)" in str(tables_04.sizes(again))


def test_examples_are_chosen_by_rule(fits: Any) -> None:
    found = fits.examples
    for case, low, high in (("inside", 0.0, 0.2), ("outside", 0.2, 0.5)):
        if case in found:
            assert low <= abs(found[case][1].minimum) <= high
    every = [p for r in fits["main"] for p in probes(r)]
    worst = found["far"][1]
    assert breakdown(worst) == max(map(breakdown, every)) > 0
    assert {task.model for task in fits.typical} == {"mlp"}
