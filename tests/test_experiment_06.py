"""Experiment 06 as a whole, at the smoke profile, on the embedded digits."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

import pytest
import torch
from made_up import Made, wobble
from smoke_runs import Changed, Empty, Smoke
from torch import nn
from torch.nn.functional import cross_entropy

from adatune_lite.claims import claim_of
from adatune_lite.experiments import autolr_vs_schedules as experiment
from adatune_lite.experiments.autolr_records import (
    accuracy,
    accuracy_words,
    log_loss,
    loss_words,
    printed_accuracy,
    printed_loss,
    rates,
)
from adatune_lite.experiments.autolr_tasks import OPTIMIZERS, RESNET18, SMALL_RESNET18
from adatune_lite.experiments.autolr_vs_schedules import (
    findings,
    groups,
    plots,
    tables,
)
from adatune_lite.experiments.autolr_vs_schedules.reading import Results
from adatune_lite.experiments.autolr_vs_schedules.verdicts.printed import TABLE_7
from adatune_lite.experiments.superbatch import overhead
from adatune_lite.report.figures import COLOURS
from adatune_lite.report.groups import Search
from adatune_lite.report.search import _edges
from adatune_lite.report.tables import NONE
from adatune_lite.runs.record import Record
from adatune_lite.tasks.data import Batch
from adatune_lite.training.functions import setting
from adatune_lite.training.spec import RunSpec
from adatune_lite.tuning.lr_range import lr_range_test

FINDINGS = ("finding", "first_page", "chapter", "judged")


@pytest.fixture(scope="module")
def results(smoke: Smoke) -> Results:
    found: Results = smoke(experiment)
    return found


def test_each_method_safeguard_and_seed_rate_has_records(results: Results) -> None:
    assert set(results.by("tuned")) == set(groups.TUNED)
    for parts in ("tuned", "safeguards", "seed rates"):
        assert all(results.by(parts).values())


def trials(profile: str, method: str) -> Sequence[Sequence[RunSpec]]:
    search = experiment.results(profile, Empty()).groups["tuning", method]
    assert isinstance(search, Search)
    return search.trials


def test_every_method_gets_the_same_rates_on_the_same_seeds() -> None:
    for profile, scale in experiment.PROFILES.items():
        rates = {m: [[s.get("lr") for s in trial] for trial in trials(profile, m)] for m in groups.TUNED}
        assert all(found == rates["constant"] for found in rates.values()), profile
        assert not set(scale.tuning_seeds) & set(scale.report_seeds)


def test_equal_cost_is_that_of_autolr_in_explore(results: Results) -> None:
    (longer,) = results["equal cost"]
    scale = results.scale
    steps = scale.steps_of(scale.main)
    extra = overhead(5, scale.superbatch, scale.window) / 100
    assert longer.spec.steps == round(steps * (1 + extra))
    for record in results["t13", "momentum", "autolr"]:
        assert record.cost["plain_steps"] <= longer.cost["plain_steps"] * 1.2


def test_one_cycle_takes_its_rate_from_the_range_test(results: Results) -> None:
    """The readings of the test on the task's own training, and the fractions that are tried of them."""
    (record,) = results["range", "t13"]
    spec = record.spec
    task, net = setting(spec, "cpu")
    optimizer = torch.optim.SGD(net.parameters(), lr=1.0, momentum=0.9)
    found = lr_range_test(
        optimizer,
        lambda t: cross_entropy(*_scores(net, task.batch(100, t))),
        lr_min=1e-4,
        lr_max=10,
        steps=20,
    )
    rates, losses = record.series("lr")[1], record.series("train_loss")[1]
    assert rates.tolist() == pytest.approx(found.lr) and losses.tolist() == pytest.approx(
        found.loss, rel=1e-5
    )
    assert results.minimum == pytest.approx(found.minimum, rel=1e-5)
    assert record.metrics["tenth"] == pytest.approx(found.minimum / 10)
    (default,) = results["one-cycle", groups.DEFAULT]
    assert default.spec.get("lr") == pytest.approx(results.minimum / 10, rel=1e-5)
    near, tried = results.choice("fractions", "near"), results["fractions", "near"]
    assert near is not None and len(results["one-cycle", "near"]) == 1
    assert [r.spec.get("lr") / results.minimum for r in tried] == pytest.approx([0.2, 0.4, 0.67, 1], rel=1e-5)
    best = min(tried, key=lambda r: r.metrics["validation_loss"])
    assert dict(near.settings)["lr"] == best.spec.get("lr")


def _scores(net: nn.Module, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    return net(batch[0]), batch[1]


def _momentum(spec: RunSpec) -> object:
    return dict(spec.optimizer_settings).get("momentum")


def test_desk_has_cifar_between_the_paper_and_the_search() -> None:
    plan = experiment.plan("desk", Empty())
    (few,) = experiment.PROFILES["desk"].few
    held = [p for p in plan if p.spec.task == few]
    assert {(p.spec.function, p.spec.method, p.spec.optimizer) for p in held} == {
        ("generalisation", "staircase", "sgd"),
        ("generalisation", "autolr", "sgd"),
        ("generalisation", "constant", "adam"),
        ("generalisation", "autolr", "adam"),
        ("lr_range", "lr_range", "sgd"),
    }
    plain = [p for p in held if p.role == "few" and p.spec.optimizer == "sgd" and not _momentum(p.spec)]
    assert len(plain) == 10
    assert sum(p.role == "few" for p in held) == 30 and few.dataset == "cifar10" and few.train == 10_000
    order = {p.role: p.priority for p in plan}
    assert order["paper"] > order["few"] > order["range"] > order["tuning"]
    ours = next(p.spec for p in held if p.spec.method == "autolr")
    assert (ours.get("explore_steps"), ours.get("saturation"), ours.get("epsilon_threshold")) == (
        273,
        100.0,
        5e-3,
    )


def test_the_paper_profile_has_table_9_at_its_printed_rates() -> None:
    """The highest rates are those that the claims name: 0.06, 9e-3 and 0.1."""
    runs = {n: g.specs for n, g in experiment.results("paper", Empty()).under("printed").items()}
    for name, specs in runs.items():
        stated = {name: claim_of(TABLE_7[name]).setting["schedule"]}
        rate = re.search(r"(?:maximum|from) ([\d.e-]+)", stated[name])
        assert rate and {s.get("lr") for s in specs} == {float(rate[1])}
        assert [s.seed for s in specs] == list(range(7)) and {s.task.model for s in specs} == {"resnet18"}
    for profile in ("smoke", "quick", "desk"):
        assert not any(g.specs for g in experiment.results(profile, Empty()).under("printed").values())
    assert sum(p.role == "printed" for p in experiment.plan("paper", Empty())) == 35


def test_a_jpeg_copy_is_named_where_its_accuracies_are(results: Results) -> None:
    class Copied:
        def get(self, spec: RunSpec) -> Record | None:
            found: Record | None = results.store.get(spec)
            told = {"data_source": "cifar10/train.parquet (JPEG copy)"}
            return found and dataclasses.replace(found, provenance={**found.provenance, **told})

    copied = experiment.results("smoke", Copied())
    for page, named in ((copied, True), (results, False)):
        texts = [
            tables.setting(page),
            str(tables.paper(page, "t13")),
            tables.rate_range(page, "t13", "sgd"),
            plots.range_test(page).axes[0].get_title(),
            plots.overlay(page, "t13").axes[0].get_title(),
            *(str(getattr(findings, name)(page)) for name in FINDINGS),
            str(tables.decisions(page)),
            str(tables.reasons(page)),
        ]
        assert ["JPEG copy" in text for text in texts] == [named] * len(texts)
        assert ("cifar10/train.parquet" in texts[0]) == named


def test_what_is_printed_has_its_spread_and_runs() -> None:
    """Spreads of accuracies are printed as fractions; those of losses are in the losses' unit."""

    def accuracy_of(name: str) -> str:
        return accuracy_words(printed_accuracy(claim_of(name)))

    assert accuracy_of("autolr.t4.momentum.baseline") == "94.81 (SD 0.1, n = 7)"
    loss = printed_loss(claim_of("autolr.t4.momentum.baseline"))
    assert loss is not None and loss_words(loss) == "0.002 (SD 6.5e-05)"
    assert accuracy_of("autolr.t12.seedlr_0p05") == "94.60 (n = 3)"
    assert printed_loss(claim_of("autolr.t12.seedlr_0p05")) is None
    for table in ("t4", "t13", "t14"):
        for side in ("baseline", "autolr"):
            texts = [accuracy_of(f"autolr.{table}.{o}.{side}") for o in OPTIMIZERS]
            assert all("SD" in text and "n = 7" in text for text in texts)


def test_table_9_has_the_printed_losses_beside_ours(results: Results) -> None:
    head, _, *rows = str(tables.tuned(results)).split("\n")
    assert head.endswith("| printed, CIFAR-10 (%) | printed loss |")
    assert any(
        "| cosine |" in r and r.endswith("| 94.52 (SD 0.16, n = 7) | 0.0003 (SD 2.7e-05) |") for r in rows
    )
    assert str(tables.table_9(results)).startswith("*Not run")


def test_the_rates_of_the_paper_stand_under_every_curve(results: Results) -> None:
    found = {(t, o): tables.rate_range(results, t, o) for t in ("t4", "t13", "t14") for o in OPTIMIZERS}
    figures = [*range(10, 13), *range(15, 21)]
    assert all(f"Figure {k} of" in text for k, text in zip(figures, found.values(), strict=True))
    assert "rates 0.1 to 0.10012 in explore, read" in found["t4", "sgd"] and "Ours" not in found["t4", "sgd"]
    assert "no sign of a rise" in found["t4", "adam"] and "from 0.092 on" in found["t13", "sgd"]
    assert "up to 0.1025" in found["t13", "momentum"] and "cannot be read" in found["t14", "sgd"]
    (run,) = results["t13", "sgd", "autolr"]
    assert f"{rates(run).min():.5g} to {rates(run).max():.5g} in the whole run" in found["t13", "sgd"]


def test_figure_4b_has_both_sides_and_an_axis_for_each_quantity(results: Results) -> None:
    figure = plots.overlay(results, "t13")
    left, right = figure.axes
    assert left.get_ylabel().startswith("learning rate") and right.get_ylabel().startswith("validation acc")
    labels = ["AutoLR (1 seed)", "constant rate (1 seed)"]
    assert [text.get_text() for text in figure.legends[0].texts] == labels
    for k, side in enumerate(("autolr", "baseline")):
        (run,) = results["t13", "momentum", side]
        rate, accuracy = left.lines[2 * k], right.lines[2 * k]
        assert accuracy.get_ydata().tolist() == run.series("validation_accuracy")[1].tolist()
        assert rate.get_ydata()[0] == 0.1 and rate.get_color() == accuracy.get_color()
        assert rate.get_color() == COLOURS[run.spec.method]
    assert not plots.overlay(results, "t4").axes[0].lines


def test_a_safeguard_is_the_only_difference(results: Results) -> None:
    (whole,) = results.whole
    for name, (record,) in results.by("safeguards").items():
        settings, plain = dict(record.spec.settings), dict(whole.spec.settings)
        changed = {k for k in settings if settings[k] != plain.get(k)}
        assert changed == set(groups.SAFEGUARDS[name])


def test_a_cell_pairs_its_seeds_and_counts_divergence_as_guessing(results: Results) -> None:
    (ours,), (theirs,) = results["t13", "sgd", "autolr"], results["t13", "sgd", "baseline"]
    assert not results["t14", "sgd"]
    gap = ours.metrics["test_accuracy"] - theirs.metrics["test_accuracy"]
    ((_, found),) = [one for one in tables.paper(results, "t13").compared() if one[0].key[1] == "sgd"]
    assert found.pair.differences == (gap,)
    lost = dataclasses.replace(ours, status="diverged at step 3", metrics={})
    assert accuracy(lost) == 10.0 and log_loss(lost) is None
    shown = experiment.results("smoke", Changed(results.store, {ours.spec.hash: lost}))
    assert "| 1 of 1 lost |" in str(tables.paper(shown, "t13"))


def test_curves_are_split_where_explore_ends(results: Results) -> None:
    figure = plots.curves(results, "t13", "momentum")
    left, right = figure.axes[-2:]
    assert left.get_xlim() == (0.0, 0.2) and right.get_xlim() == (0.2, 1.0)
    assert left.get_xlabel() == "epoch" and figure.axes[4].get_ylabel() == "learning rate"
    assert not any(p.lines for p in plots.curves(results, "t4", "adam").axes)


@pytest.mark.parametrize("name", FINDINGS)
def test_findings_have_numbers_where_there_are_records(results: Results, name: str) -> None:
    text = str(getattr(findings, name)(results))
    assert text and "nan" not in text
    assert str(getattr(findings, name)(experiment.results("smoke", Empty())))


def test_without_records_nothing_is_claimed() -> None:
    empty = experiment.results("smoke", Empty())
    assert str(findings.finding(empty)) == str(findings.chapter(empty)) == NONE


def test_a_data_set_that_was_not_run_says_so(results: Results) -> None:
    assert "99.32" in str(tables.paper(results, "t13")) and "94.79" in str(tables.tuned(results))
    assert str(tables.paper(results, "t14")) == "*Not run: no records of this data set.*"


def test_the_table_of_seed_rates_pairs_them_with_the_reference() -> None:
    """One rate is a point below the reference on every seed, the others differ from it by chance."""
    made = Made(lambda s: 90 + wobble(s.seed, round(100 * s.get("lr", 0))) - (s.get("lr", 0) == 0.15))
    rows = [r.split(" | ") for r in str(tables.seed_rates(experiment.results("desk", made))).splitlines()[2:]]
    assert [r[0].strip("| ") for r in rows] == ["0.05", "0.075", "0.1", "0.125", "0.15"]
    assert [bool(r[2]) for r in rows] == [bool(r[3]) for r in rows] == [True, True, False, True, True]
    far = {r[0].strip("| "): float(r[3]) < 0.05 for r in rows if r[3]}
    assert (
        far == {"0.05": False, "0.075": False, "0.125": False, "0.15": True}
        and float(rows[4][2].split()[0]) < 0
    )


def test_what_an_edge_is_stands_under_the_table(results: Results) -> None:
    assert tables._edge(1) in str(tables.tuned(results))
    for draws in (5, 10):
        tried = [(("lr", float(k)),) for k in range(draws)]
        inner = sum(not _edges(best, tried, groups.SPACE) for best in tried)
        assert f"all but the {'one' if inner == 1 else inner} in the middle" in tables._edge(draws)


def test_the_plateau_forgives_a_twentieth_of_the_training() -> None:
    for profile, looks in (("smoke", 1), ("desk", 1), ("paper", 10)):
        assert {s.get("patience") for trial in trials(profile, "plateau") for s in trial} == {looks}


def test_a_plateau_that_had_no_occasion_to_act_is_said_to(results: Results) -> None:
    (record,) = results["tuned", "plateau"]
    assert len(set(record.series("lr")[1])) == 1 and "never lowered its rate" in str(tables.tuned(results))
    steps = list(range(20))
    moved = {**record.stored, "lr": {"steps": steps, "values": [0.1] * 10 + [0.01] * 10}}
    assert tables.idle([dataclasses.replace(record, stored=moved), record]) == tables.idle([]) == ""


def test_open_decisions_stand_beside_autolr_as_it_is(results: Results) -> None:
    text = str(tables.decisions(results))
    assert [line.split(" | ")[0].strip("| ") for line in text.splitlines()[2:]] == [
        *("as it is, on the 5,000 embedded MNIST digits", *groups.OPEN, groups.TWICE)
    ]
    whole = results.whole
    for name, other in results.by("open").items():
        if name == groups.EVALUATION:
            assert not other
            continue
        assert [r.spec.seed for r in other] == [r.spec.seed for r in whole] != []
        (changed,) = {k for k, v in other[0].spec.settings if dict(whole[0].spec.settings).get(k) != v}
        assert changed in {"reach", "spread", "otherwise", "window"}, name
    counted = str(tables.reasons(results))
    windows = sum(len(r.series("decision")[0]) for r in results["t13"] if r.spec.method == "autolr")
    assert f"in {windows:,} windows" in counted
    cells = [c.replace(",", "") for line in counted.splitlines()[2:] for c in line.split(" | ")[1:]]
    assert sum(int(c.strip("| ")) for c in cells) == windows


def test_evaluation_mode_is_compared_on_the_task_with_batchnorm() -> None:
    for profile, task in (("desk", SMALL_RESNET18), ("paper", RESNET18)):
        page = experiment.results(profile, Made(lambda s: 90 + wobble(s.seed, len(s.settings))))
        runs = page.groups["open", groups.EVALUATION].specs
        assert {s.task for s in runs} == {task} and len(runs) == len(page.scale.report_seeds)
        assert {s.task for s in page.groups["t4", "momentum", "autolr"].specs} == {task}
        text = str(tables.decisions(page))
        rows = [line.split(" | ")[0].strip("| ") for line in text.splitlines()[2:]]
        other = ["as it is, on Fashion-MNIST"] if profile == "desk" else []
        mode = f"{groups.EVALUATION}, on CIFAR-10"
        assert rows == [*(*other, "as it is, on CIFAR-10", *groups.OPEN, groups.TWICE, mode)]
