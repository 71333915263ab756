"""Experiments 03 and 04 as a whole, at the smoke profile, on the embedded digits."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from smoke_runs import Changed, smoke

from adatune_lite import claims
from adatune_lite.experiments import find, quadratic_fit, superbatch
from adatune_lite.experiments.autolr_tasks import OPTIMIZERS
from adatune_lite.experiments.invariants import InvariantError
from adatune_lite.experiments.quadratic_fit import invariants as invariants_03
from adatune_lite.experiments.quadratic_fit import plots as plots_03
from adatune_lite.experiments.quadratic_fit import tables as tables_03
from adatune_lite.experiments.quadratic_fit.reading import breakdown, optimizer_of, probes, row
from adatune_lite.experiments.superbatch import invariants as invariants_04
from adatune_lite.experiments.superbatch import overhead
from adatune_lite.experiments.superbatch import plots as plots_04
from adatune_lite.experiments.superbatch import tables as tables_04
from adatune_lite.experiments.superbatch.reading import Cell, Group, at_bound, slope
from adatune_lite.plotting import panels
from adatune_lite.runs.record import Record
from adatune_lite.runs.store import Store
from adatune_lite.runs.worker import Planned
from adatune_lite.training.outcome import Outcome, Series
from adatune_lite.training.quadratic import GRID

PAGES = (
    (plots_03, ("examples", "networks", "along_training", "settings")),
    (tables_03, ("setting", "finding", "fits", "minima")),
    (plots_04, ("noise", "decisions", "cost")),
    (tables_04, ("setting", "finding", "smallest", "costs", "sizes")),
)
FIGURES = [(module, name) for module, names in PAGES[::2] for name in names]
TABLES = [(module, name) for module, names in PAGES[1::2] for name in names]


@pytest.fixture(scope="module")
def fits(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return smoke(quadratic_fit, tmp_path_factory.mktemp("fits"))


@pytest.fixture(scope="module")
def sizes(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return smoke(superbatch, tmp_path_factory.mktemp("sizes"))


def test_the_trust_bound_is_that_of_the_data_set() -> None:
    at = {p.spec.task.dataset: quadratic_fit.threshold(p.spec.task) for p in _planned("paper")}
    assert at == {"cifar10": 5e-3, "mnist": 1e-3, "fashion_mnist": 1e-3}
    assert {quadratic_fit.threshold(p.spec.task) for p in _planned("smoke")} == {1e-3}


def _planned(profile: str) -> list[Planned]:
    return quadratic_fit.plan(profile, Store(Path("nowhere")))


def test_every_planned_run_has_a_record_and_the_invariants_hold(fits: Any, sizes: Any) -> None:
    assert find("03") is quadratic_fit and find("4") is superbatch
    for module, results, check in (
        (quadratic_fit, fits, invariants_03.check),
        (superbatch, sizes, invariants_04.check),
    ):
        assert check(results) == len(module.plan("smoke", results.store)) > 0
        for profile in module.PROFILES:
            specs = [p.spec.hash for p in module.plan(profile, results.store)]
            assert len(set(specs)) == len(specs)


def test_the_table_of_fits_covers_every_run_once(fits: Any) -> None:
    rows = fits.table()
    assert sum(r.runs for r in rows) == len(fits.all_records())
    assert {r.optimizer for r in rows} == set(OPTIMIZERS)
    by_rate = {(r.optimizer, r.lr) for r in rows}
    assert ("sgd", 0.1) in by_rate and ("sgd", 0.01) in by_rate
    slow = next(r for r in rows if r.optimizer == "sgd" and r.lr < 0.05)
    assert slow.r2 > 0.999 and slow.radius >= 1, "a small step of a network with few kinks"
    assert all(r.probes == 4 * r.runs and 0 <= r.convex <= 1 for r in rows)


def made_up(losses: Any, low: float, there: float) -> Record:
    spec = dataclasses.replace(quadratic_fit.main_runs(quadratic_fit.PROFILES["smoke"], "sgd")[0], steps=10)
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
    found = row([made_up(lambda u: 2 + (u - 0.3) ** 2, 0.3, 2.02)], [probe])
    assert found.outside_error == pytest.approx(0.02 / 2.02) and math.isnan(found.inside_error)
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


def test_the_optimizer_of_a_run_is_told_by_its_options() -> None:
    for name in OPTIMIZERS:
        spec = quadratic_fit.main_runs(quadratic_fit.PROFILES["smoke"], name)[0]
        assert optimizer_of(spec) == name


def test_the_groups_of_superbatches_have_every_size(sizes: Any) -> None:
    (group,) = sizes.groups()
    assert [cell.size for cell in group.cells] == [1, 2, 5, 10]
    assert group.cells[0].loss_std > group.cells[-1].loss_std > 0
    assert group.slopes[0] == pytest.approx(-0.5, abs=0.25)  # 10 draws a size
    assert [c.cost[5] for c in group.cells] == [overhead(5, c.size) for c in group.cells]


def test_cost_is_that_of_appendix_c() -> None:
    assert overhead(5, 100) == pytest.approx(500 / 30)
    assert overhead(3, 50) == pytest.approx(5.0)


def test_slope_of_independent_mini_batches_is_a_half() -> None:
    spec = superbatch.part_runs(*_smoke(), "momentum")[0]
    count = 20  # measured
    spreads = {
        f"loss_std {s}": Series([0.3 * math.sqrt((1 - s / count) / s)] * 2, [1, 2]) for s in (1, 2, 5, 10)
    }
    record = Record.of(spec, Outcome("finished", spreads), code="0" * 64, device="cpu")
    assert slope(record, (1, 2, 5, 10)) == pytest.approx(-0.5, abs=1e-6)


def _smoke() -> tuple[Any, Any]:
    scale = superbatch.PROFILES["smoke"]
    return scale, scale.parts[0]


def test_the_smallest_superbatch_is_one_from_which_on_all_decide_alike() -> None:
    def cell(size: int, agree: float, error: float) -> Cell:
        both = {5: agree, 3: 0.0}
        return Cell(size, 0.1, both, {5: error, 3: error}, {5: 0.0, 3: 0.0}, 1.0, 0.0, 0.1)

    cells = [cell(1, 1.0, 0.05), cell(2, 0.9, 0.05), cell(5, 0.96, 0.05), cell(10, 0.99, 0.01)]
    group = Group(_smoke()[1], "momentum", [], cells, [], [])
    smallest = group.smallest(5)
    assert smallest is not None and smallest.size == 5, "one mini-batch did by chance, two did not"
    assert group.smallest(3) is None
    far = Group(_smoke()[1], "momentum", [], [cell(1, 1.0, 0.2)], [], [])
    assert far.smallest(5) is None


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
    record = fits.main("sgd")[0]
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
    for part in superbatch.PROFILES["desk"].parts:
        assert max(superbatch.sizes(part)) >= 100 and len(part.seeds) == 5
        assert part.superbatch <= part.task.train // part.task.batch
    assert np.isclose(overhead(5, 100), 100 / 6)


def of(module: ModuleType, fits: Any, sizes: Any) -> Any:
    return fits if module in (plots_03, tables_03) else sizes


@pytest.mark.parametrize(("module", "name"), FIGURES, ids=lambda x: x if isinstance(x, str) else "")
def test_figures_are_functions_of_the_records(module: ModuleType, name: str, fits: Any, sizes: Any) -> None:
    figure = getattr(module, name)(of(module, fits, sizes))
    shown = [panel for panel in figure.axes if panel.axison]
    assert shown and all(panel.get_xlabel() for panel in shown)
    assert all(panel.lines or panel.collections for panel in shown)


@pytest.mark.parametrize(("module", "name"), TABLES, ids=lambda x: x if isinstance(x, str) else "")
def test_tables_are_functions_of_the_records(module: ModuleType, name: str, fits: Any, sizes: Any) -> None:
    results = of(module, fits, sizes)
    text = getattr(module, name)(results)
    assert "nan" not in text and "No records" not in text and "Not all runs" not in text
    again = type(results)("smoke", results.store)
    assert getattr(module, name)(again) == text


def test_an_empty_store_has_pages_without_numbers(tmp_path: Path) -> None:
    store = Store(tmp_path)
    empty = {m: m.results("smoke", store) for m in (quadratic_fit, superbatch)}
    fits, sizes = empty.values()
    for module, name in FIGURES:
        assert not any(panel.axison for panel in getattr(module, name)(of(module, fits, sizes)).axes), name
    for module, name in TABLES:
        text = getattr(module, name)(of(module, fits, sizes))
        assert text == module.NONE or name in ("setting", "costs"), name
    assert "missing: 6" in tables_03.setting(fits) and "missing: 1" in tables_04.setting(sizes)
    assert "16.7 % |  |" in tables_04.costs(sizes), "arithmetic needs no run, a count does"
    assert invariants_03.check(fits) == invariants_04.check(sizes) == 0
    for results in (fits, sizes):
        assert {v.outcome for v in claims.verdicts(results)} == {"not run"}


def test_the_tables_say_what_was_measured(fits: Any, sizes: Any) -> None:
    text = tables_03.fits(fits)
    assert text.count("\n") == len(fits.table()) + 1
    assert "digits, dense, SGD, rate 0.01" in text
    assert tables_04.sizes(sizes).count("\n") == 4 + 1 + 2
    assert tables_04.costs(sizes).count("| 16.7 % | 16.7 % |") == 1, "counted as appendix C counts"
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
    assert "to the bound at 1 of 2 measured steps (50%)" in tables_04.sizes(again)


def test_examples_are_chosen_by_rule(fits: Any) -> None:
    found = fits.examples()
    for case, low, high in (("inside", 0.0, 0.2), ("outside", 0.2, 0.5)):
        if case in found:
            assert low <= abs(found[case][1].minimum) <= high
    every = [p for name in OPTIMIZERS for r in fits.main(name) for p in probes(r)]
    worst = found["far"][1]
    assert breakdown(worst) == max(map(breakdown, every)) > 0
    assert {key[1] for key in fits.typical()} == {"mlp"}
