"""Experiment 01 as a whole, at the smoke profile, on the embedded digits."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest
from smoke_runs import Changed, smoke

from adatune_lite.experiments import EXPERIMENTS, UnknownExperiment, decision, find
from adatune_lite.experiments import lrs_opt_vs_marthe as experiment
from adatune_lite.experiments.invariants import InvariantError
from adatune_lite.experiments.lrs_opt_vs_marthe import invariants, plots, tables
from adatune_lite.experiments.lrs_opt_vs_marthe.reading import LABELS, Results
from adatune_lite.report.search import final_loss
from adatune_lite.runs.record import Record
from adatune_lite.runs.store import Store

ROOT = Path(__file__).resolve().parents[1]

FIGURES = ("schedules", "comparison", "mu_hyper_lr_map", "outer_loop", "nearness", "transfer", "sensitivity")
TABLES = ("setting", "comparison", "costs", "settings", "at_fixed_mu", "nearness", "transfer", "finding")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    found: Results = smoke(experiment, tmp_path_factory.mktemp("store"))
    return found


def test_every_planned_run_has_a_record_and_the_invariants_hold(results: Results) -> None:
    plan = experiment.plan("smoke", results.store)  # type: ignore[arg-type]
    assert invariants.check(results) == len(plan)
    assert {p.role for p in plan} == set(experiment._PRIORITY) - {"lrs_opt_long"}


def test_every_method_gets_the_same_number_of_trials_on_the_same_seeds() -> None:
    for profile, scale in experiment.PROFILES.items():
        counts = {m: [len(trial) for trial in experiment.trials(scale, m)] for m in experiment.SPACES}
        assert set(map(tuple, counts.values())) == {(len(scale.tuning_seeds),) * scale.draws}, profile
        at_mu = {len(experiment.mu_trials(scale, mu)) for mu in experiment.MUS}
        assert at_mu == {scale.mu_draws}
        assert not set(scale.tuning_seeds) & set(scale.report_seeds), (
            "settings must be reported on other seeds"
        )


def test_the_desk_profile_is_the_papers_setting() -> None:
    scale = experiment.PROFILES["desk"]
    task = scale.task
    assert (task.train, task.validation, task.batch, task.hidden) == (7000, 700, 100, (500, 500))
    assert (scale.steps, scale.draws, len(scale.tuning_seeds), len(scale.report_seeds)) == (512, 30, 3, 5)
    assert (scale.outer_steps, scale.long_outer_steps, experiment.START) == (60, 150, 0.01)
    assert scale.variant_outer_steps == 20, (
        "smaller than the main runs to keep to the budget: the page says so"
    )


@pytest.mark.parametrize("name", FIGURES)
def test_figures_draw_with_all_records_and_with_none(results: Results, name: str, tmp_path: Path) -> None:
    empty = experiment.results("desk", Changed(Store(tmp_path), {}))
    for which in (results, empty):
        figure = getattr(plots, name)(which)
        figure.savefig(tmp_path / "figure.png")


@pytest.mark.parametrize("name", TABLES)
def test_tables_hold_numbers_with_all_records_and_say_so_with_none(
    results: Results, name: str, tmp_path: Path
) -> None:
    full = getattr(tables, name)(results)
    assert "nan" not in full.lower()
    assert any(c.isdigit() for c in full)
    empty = getattr(tables, name)(experiment.results("desk", Store(tmp_path)))
    assert "No records yet" in empty or "not complete" in empty or "Not all runs" in empty


def test_a_diverged_run_counts_as_guessing_in_the_table(results: Results) -> None:
    run = results.reported("marthe")[0]
    diverged = dataclasses.replace(run, status="diverged at step 3", metrics={})
    changed = Results("smoke", Changed(results.store, {run.spec.hash: diverged}))
    row, before = changed.row("marthe"), results.row("marthe")
    assert row is not None
    assert before is not None
    assert row.diverged == 1
    line = next(x for x in tables.comparison(changed).splitlines() if LABELS[row.method] in x)
    assert "±" not in line, "the spread of values that were put in by hand is no interval"
    assert "±" in tables.comparison(results)
    assert row.test_loss.mean * 2 == pytest.approx(
        before.test_loss.mean * 2 - run.metrics["test_loss"] + math.log(10)
    )


def test_the_finding_says_so_when_the_constant_rate_wins_and_when_it_loses(results: Results) -> None:
    def shifted(method: str, loss: float) -> dict[str, Record | None]:
        return {
            r.spec.hash: dataclasses.replace(
                r, metrics={**r.metrics, "test_loss": loss + 0.001 * r.spec.seed}
            )
            for r in results.reported(method)
        }

    losers = {h: r for m in experiment.ONLINE for h, r in shifted(m, 1.0).items()}
    wins = Results("smoke", Changed(results.store, {**losers, **shifted("constant", 0.1)}))
    assert tables.finding(wins).startswith("**A tuned constant learning rate beats every online method**")
    loses = Results("smoke", Changed(results.store, {**losers, **shifted("constant", 3.0)}))
    assert "beats a tuned constant" in tables.finding(loses)


def test_there_is_no_finding_while_a_method_lacks_a_run(results: Results) -> None:
    hidden = results.reported("marthe")[1]
    text = tables.finding(Results("smoke", Changed(results.store, {hidden.spec.hash: None})))
    assert text.startswith("The runs of this experiment are not complete enough")
    assert "MARTHE" in text
    assert "RTHO" not in text


@pytest.mark.parametrize(
    ("method", "change", "words"),
    [
        ("marthe", {"metrics": {"validation_loss": math.nan}}, "validation_loss is nan"),
        ("lrs_opt", {"metrics": {"validation_loss": 9.0, "lrs_opt_loss": 9.0}}, "ends above its start"),
        ("lrs_opt", {"metrics": {"validation_loss": 9.0, "lrs_opt_loss": 1.0}}, "replayed gives"),
        ("start", {"metrics": {"validation_loss": 0.5}}, "the constant run ends at"),
        ("rtho", {"stored": {"lr": {"values": [0.02] * 16}}}, "starts at"),
        ("hd", {"stored": {"lr": {"values": [0.01] * 9}}}, "9 rates for 16 steps"),
    ],
)
def test_check_raises_when_a_record_breaks_an_invariant(
    results: Results, method: str, change: dict[str, object], words: str
) -> None:
    run = results.reported(method)[0]
    broken = dataclasses.replace(run, **change)  # type: ignore[arg-type]
    with pytest.raises(InvariantError, match=words):
        invariants.check(Results("smoke", Changed(results.store, {run.spec.hash: broken})))


def test_experiments_are_found_by_number_and_name_and_refused_otherwise() -> None:
    assert find("01") is find("1") is find("01_lrs_opt_vs_marthe") is EXPERIMENTS["01_lrs_opt_vs_marthe"]
    with pytest.raises(UnknownExperiment, match="there are: 01_lrs_opt_vs_marthe"):
        find("99")


def test_the_readme_says_what_the_committed_records_say() -> None:
    committed = experiment.results("desk", Store(ROOT / "data" / "runs"))
    constant, marthe = committed.row("constant"), committed.row("marthe")
    assert constant is not None and marthe is not None
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    said = f"test loss {constant.test_loss.text()} against {marthe.test_loss.text()} for MARTHE"
    assert " ".join(said.split()) in readme  # with plain spaces
    assert f"{constant.runs} seeds" in readme
    assert marthe.plain_steps / constant.plain_steps == pytest.approx(10), "at a tenth of its cost"
    one_cycle = next(x for x in decision.table(committed).splitlines() if x.startswith("| one-cycle |"))
    assert "cannot be told apart" in one_cycle, "the best schedule: the chapter for practice says it too"
    assert "beats every online method" in experiment.finding("desk", committed.store)


def test_near_draws_are_those_within_a_tenth_of_the_best(results: Results) -> None:
    found = decision.search(results, "constant")
    assert found is not None
    losses = {}
    for specs in experiment.trials(results.scale, "constant"):
        losses[dict(specs[0].settings)["lr"]] = sum(map(final_loss, results.records(specs))) / len(specs)
    near = [lr for lr, loss in losses.items() if loss <= 1.1 * min(losses.values())]
    assert found.draws == len(losses)
    assert found.near == len(near)
    assert found.ranges == {"lr": (min(near), max(near))}


def test_the_table_has_a_line_for_each_method_and_costs_relative_to_the_constant_rate(
    results: Results,
) -> None:
    lines = decision.table(results).splitlines()[2:]
    assert len(lines) == len(experiment.CLASSICAL) + len(experiment.ONLINE) + 1
    assert "| 1 × |" in lines[0]
    marthe, constant = results.row("marthe"), results.row("constant")
    assert marthe is not None
    assert constant is not None
    cost = f"| {marthe.plain_steps / constant.plain_steps:,.0f} × |"
    assert any("MARTHE" in line and cost in line for line in lines)
    assert "has the smallest test loss" in decision.advice(results)


def test_without_records_nothing_is_claimed(tmp_path_factory: pytest.TempPathFactory) -> None:
    empty = experiment.results("smoke", Store(tmp_path_factory.mktemp("empty")))
    assert decision.chapter(empty) == "*No records yet.*"
