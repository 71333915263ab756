"""Experiment 01 as a whole, at the smoke profile, on the embedded digits."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path

import pytest
from smoke_runs import Changed, Empty, Everything, Smoke

from adatune_lite.experiments import decision
from adatune_lite.experiments import lrs_opt_vs_marthe as experiment
from adatune_lite.experiments.invariants import InvariantError
from adatune_lite.experiments.lrs_opt_vs_marthe import canary, groups, invariants, tables
from adatune_lite.experiments.lrs_opt_vs_marthe.groups import CLASSICAL, LABELS, MUS, ONLINE, SPACES, START
from adatune_lite.experiments.lrs_opt_vs_marthe.reading import Results, plain_steps
from adatune_lite.experiments.lrs_opt_vs_marthe.scale import Scale
from adatune_lite.report.groups import Group, Page, Search
from adatune_lite.report.lost import E, metric
from adatune_lite.runs.record import Record
from adatune_lite.runs.store import Store

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def results(smoke: Smoke) -> Results:
    found: Results = smoke(experiment)
    return found


def test_every_method_gets_the_same_number_of_trials_on_the_same_seeds() -> None:
    for profile, scale in experiment.PROFILES.items():
        page = experiment.results(profile, Empty())
        searches = page.under("tuning")
        assert tuple(searches) == tuple(SPACES)
        assert {seeds_of(search) for search in searches.values()} == {(scale.tuning_seeds,) * scale.draws}
        at_mu = page.under("mu tuning")
        assert tuple(at_mu) == MUS
        assert {seeds_of(search) for search in at_mu.values()} == {(scale.tuning_seeds,) * scale.mu_draws}
        assert not set(scale.tuning_seeds) & set(scale.report_seeds), (
            "settings must be reported on other seeds"
        )


def seeds_of(search: Group) -> tuple[tuple[int, ...], ...]:
    assert isinstance(search, Search)
    return tuple(tuple(spec.seed for spec in trial) for trial in search.trials)


def test_the_desk_profile_is_the_papers_setting() -> None:
    scale = experiment.PROFILES["desk"]
    task = scale.task
    assert (task.train, task.validation, task.batch, task.hidden) == (7000, 700, 100, (500, 500))
    assert (scale.steps, scale.draws, len(scale.tuning_seeds), len(scale.report_seeds)) == (512, 30, 3, 5)
    assert (scale.outer_steps, scale.long_outer_steps, START) == (60, 150, 0.01)
    assert scale.variant_outer_steps == 20, (
        "smaller than the main runs to keep to the budget: the page says so"
    )


def test_the_canary_has_networks_of_every_depth(results: Results) -> None:
    """LRS-OPT and the online tuners differentiate through every layer."""
    store = Everything(results.all_records())
    planned = {run.spec for profile in ("desk", "paper") for run in experiment.plan(profile, store)}
    kinds = [
        {(s.function, len(s.task.hidden), s.task.activation) for s in specs}
        for specs in (planned, canary.runs().values())
    ]
    assert kinds[0] <= kinds[1]


def test_a_lost_run_takes_the_mean_from_its_cells(results: Results) -> None:
    whole = {
        r.spec.hash: dataclasses.replace(r, metrics={**r.metrics, "validation_loss": 0.5, "test_loss": 0.6})
        for r in results["report", "marthe"]
    }
    first = next(iter(whole.values()))
    before = Results("smoke", Changed(results.store, whole))
    diverged = dataclasses.replace(first, status="diverged at step 3", metrics={})
    after = Results("smoke", Changed(results.store, {**whole, first.spec.hash: diverged}))

    def line(page: Results) -> str:
        return next(x for x in str(tables.comparison(page)).splitlines() if LABELS["marthe"] in x)

    assert "| 0.600\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}0.000 |" in line(before) and line(before).endswith(
        "| 2 (0) |"
    )
    assert "±" not in line(after) and line(after).endswith("| 2 (1) |")
    assert f"| median {(0.6 + math.log(10)) / 2:.3f} (lost, 0.600); 1 of 2 lost |" in line(after)


def test_the_finding_says_so_when_the_constant_rate_wins_and_when_it_loses(results: Results) -> None:
    def shifted(method: str, loss: float) -> dict[str, Record | None]:
        return {
            r.spec.hash: dataclasses.replace(
                r, metrics={**r.metrics, "validation_loss": 0.5, "test_loss": loss + 0.001 * r.spec.seed}
            )
            for r in results["report", method]
        }

    losers = {h: r for m in ONLINE for h, r in shifted(m, 1.0).items()}
    wins = Results("smoke", Changed(results.store, {**losers, **shifted("constant", 0.1)}))
    assert tables.finding(wins).startswith("**A tuned constant learning rate beats every online method**")
    loses = Results("smoke", Changed(results.store, {**losers, **shifted("constant", 3.0)}))
    assert "beats a tuned constant" in tables.finding(loses)


def test_there_is_no_finding_while_a_method_lacks_a_run(results: Results) -> None:
    hidden = results["report", "marthe"][1]
    text = tables.finding(Results("smoke", Changed(results.store, {hidden.spec.hash: None})))
    assert text.startswith("The runs of this experiment are not complete enough")
    assert "MARTHE" in text
    assert "RTHO" not in text


@pytest.mark.parametrize(
    ("method", "change", "words"),
    [
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
    run = results["report", method][0]
    broken = dataclasses.replace(run, **change)  # type: ignore[arg-type]
    with pytest.raises(InvariantError, match=words):
        invariants.check(Results("smoke", Changed(results.store, {run.spec.hash: broken})))


def test_the_readme_says_what_the_committed_records_say() -> None:
    committed = experiment.results("desk", Store(ROOT / "data" / "runs"))
    ranked = {row.key: row for row in committed.ranked}
    constant, marthe = ranked["constant"], ranked["marthe"]
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    losses = [tables.TEST_LOSS.text(row) for row in (constant, marthe)]
    said = "test loss {} against {} for MARTHE".format(*losses)
    assert " ".join(said.split()) in readme  # with plain spaces
    assert f"{len(constant.records)} seeds" in readme
    assert plain_steps(marthe.records) / plain_steps(constant.records) == pytest.approx(10), (
        "at a tenth of its cost"
    )
    one_cycle = next(x for x in str(decision.table(committed)).splitlines() if x.startswith("| one-cycle |"))
    assert "cannot be told apart" in one_cycle, "the best schedule: the chapter for practice says it too"
    assert "beats every online method" in tables.finding(committed)


def test_near_draws_are_those_within_a_tenth_of_the_best(results: Results) -> None:
    losses: dict[float, list[float]] = {}
    for record in results["tuning", "constant"]:
        losses.setdefault(record.spec.get("lr"), []).append(metric(E)(record))
    means = {lr: sum(found) / len(found) for lr, found in losses.items()}
    near = [lr for lr, loss in means.items() if loss <= 1.1 * min(means.values())]
    table = decision.table(results)
    assert table["method"][0] == LABELS["constant"]
    assert table["draws near the best"][0] == f"{len(near)} of {len(means)}"
    assert table["settings that come near the best"][0] == f"lr {min(near):.3g} to {max(near):.3g}"


def test_the_table_has_a_line_for_each_method_and_costs_relative_to_the_constant_rate(
    results: Results,
) -> None:
    lines = str(decision.table(results)).splitlines()[2:]
    assert len(lines) == len(CLASSICAL) + len(ONLINE) + 1
    assert "| 1 × |" in lines[0]
    marthe, constant = (plain_steps(results["report", m]) for m in ("marthe", "constant"))
    cost = f"| {marthe / constant:,.0f} × |"
    assert any("MARTHE" in line and cost in line for line in lines)
    assert "has the smallest test loss" in decision.advice(results)


def test_without_records_nothing_is_claimed(tmp_path_factory: pytest.TempPathFactory) -> None:
    empty = experiment.results("smoke", Store(tmp_path_factory.mktemp("empty")))
    assert decision.chapter(empty) == "*No records yet.*"


class WithFamily(Results):
    """The page with one more arm: what MARTHE and its two ends found best together, on a seed of its own."""

    @staticmethod
    def declare(scale: Scale, page: Page[Scale]) -> Iterator[Group]:
        yield from groups.groups(scale, page)
        for member in ("marthe", "rtho", "hd_validation"):
            yield dataclasses.replace(page.groups["tuning", member], key=("family", member))
        yield Group(("fresh", "family"), "the family", groups.REPORT, groups._arm(page, ("family",), [9]))


def test_an_arm_that_chooses_among_the_draws_of_several_methods_is_one_group(results: Results) -> None:
    page = WithFamily("smoke", results.store)
    members = [page.choice("tuning", m) for m in ("marthe", "rtho", "hd_validation")]
    best = min((c for c in members if c), key=lambda c: c.mean_loss)
    (planned,) = [run.spec for run in page.planned if run.spec not in {p.spec for p in results.planned}]
    assert (planned.method, planned.settings, planned.seed) == (best.method, best.settings, 9)
    family = page.choice("family")
    assert family is not None and family.trials == 3 * page.scale.draws
