"""Experiment 05 as a whole, at the smoke profile, on the embedded digits."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from made_up import judged
from smoke_runs import Changed, Smoke
from torch.nn.functional import cross_entropy

from adatune_lite.checkpoint import Checkpoint
from adatune_lite.experiments import explore_exploit as experiment
from adatune_lite.experiments.autolr_records import rates
from adatune_lite.experiments.explore_exploit import canary, groups, invariants, plots, tables
from adatune_lite.experiments.explore_exploit.reading import Results, asked
from adatune_lite.experiments.invariants import InvariantError
from adatune_lite.experiments.superbatch import overhead
from adatune_lite.runs.store import Store
from adatune_lite.training.context import Context
from adatune_lite.training.functions import setting
from adatune_lite.training.generalisation import generalisation
from adatune_lite.training.loop import train
from adatune_lite.training.making import make_tuner

COLUMNS = ("method", "test accuracy (%)", "cost (plain steps)")


@pytest.fixture(scope="module")
def results(smoke: Smoke) -> Results:
    found: Results = smoke(experiment)
    return found


def test_each_share_has_its_row(results: Results) -> None:
    table = tables.shares(results)
    assert table["explore"] == [*groups.SHARES, *groups.AUTOLR_SHARES]
    assert table["method"] == ["staircase"] * 5 + ["AutoLR"] * 7
    assert table["runs (lost)"] == ["3 (0)"] + ["1 (0)"] * 11
    for method, found, steps in zip(*map(table.__getitem__, COLUMNS), strict=True):
        assert 0 < found.interval.mean <= 100 and (steps > 80) == (method == "AutoLR")


def test_explore_is_the_steps_at_the_seed_rate(results: Results) -> None:
    for share in groups.SHARES:
        steps, rates = results["staircase", share][0].series("lr")
        assert set(rates[steps < share * 80]) == {0.1} and rates[-1] == pytest.approx(0.001)
    for share in groups.AUTOLR_SHARES:
        assert results["autolr", share][0].spec.get("explore_steps") == round(share * 80)


def test_widths_are_those_of_the_hessian_itself(results: Results) -> None:
    """The real eigenvalue through the run function, beside the whole Hessian's of one of its networks."""
    widths = results.widths
    assert [r.spec.seed for r in widths] == [0, 1, 2]
    values, accuracies, losses = results.width_columns
    assert all(value > 0 for value in values)
    record = results["staircase", groups.SHORT][0]
    assert values[0] == record.metrics["top_eigenvalue"]
    assert accuracies[0] == record.metrics["test_accuracy"] and losses[0] == record.metrics["train_loss"]


def test_the_eigenvalue_of_a_run_is_that_of_its_final_weights_and_images(tmp_path: Path) -> None:
    """Power iteration on plain double backward, on the weights of the same training."""
    spec = canary.runs()["staircase with its eigenvalue"]
    context = Context("cpu", Store(tmp_path), Checkpoint(tmp_path / "c.pt", "c"))
    found = generalisation(spec, context).metrics["top_eigenvalue"]
    plain = canary.runs()["staircase"]
    task, net = setting(plain, "cpu")
    train(net, make_tuner(plain, net, context), task, seed=plain.seed, steps=plain.steps)
    weights = list(net.parameters())
    x, y = (part[: int(spec.get("eigenvalue_images"))] for part in task.training())
    grads = torch.autograd.grad(cross_entropy(net(x), y), weights, create_graph=True)
    flat = torch.cat([g.reshape(-1) for g in grads])
    v = torch.ones_like(flat)
    for _ in range(300):
        v = v / v.norm()
        product = torch.autograd.grad(flat @ v.detach(), weights, retain_graph=True)
        v, last = torch.cat([p.reshape(-1) for p in product]), v
    assert found == pytest.approx(float(v @ last), rel=1e-4)


def test_figures_2_and_3_show_both_optimizers(results: Results) -> None:
    left, right = plots.plateau_of_the_loss(results).axes
    assert (left.get_title(), right.get_title()) == ("SGD", "SGD with momentum")
    for optimizer, panel in (("sgd", left), ("momentum", right)):
        constant, cut = results["constant", optimizer], results["cut", optimizer]
        assert panel.lines[0].get_ydata().tolist() == constant[0].series("train_loss")[1].tolist()
        assert plots.cut(results, optimizer).axes[0].lines[0].get_ydata()[0] == panel.lines[0].get_ydata()[0]
        assert {dict(r.spec.optimizer_settings).get("momentum") for r in (*constant, *cut)} == {
            0.9 if optimizer == "momentum" else None
        }
    assert "with SGD by" in tables.finding(results) and "with SGD with momentum by" in tables.finding(results)


def test_figure_3_cuts_the_rate_once(results: Results) -> None:
    for optimizer in ("sgd", "momentum"):
        (record,) = results["cut", optimizer]
        steps, rates = record.series("lr")
        assert set(rates[steps < 20]) == {0.1} and rates[steps >= 20] == pytest.approx(0.01)
        assert steps[-1] == 79
    verdict = judged("fig3.cut_speeds_descent", results.store, "smoke")
    assert verdict.runs == tuple(r.spec.hash for r in (*results["constant", "sgd"], *results["cut", "sgd"]))


def test_the_windows_that_ask_the_local_rule_are_counted(results: Results) -> None:
    """Of 80 steps in windows of 20 the first quarter has none that ends before step 20: here it is longer."""
    (whole,), (off,) = results["autolr", 0.0], results["unsaturated", 0.0]
    changed = {k for k, v in off.spec.settings if dict(whole.spec.settings)[k] != v}
    assert changed == {"saturation"} and off.spec.get("explore_steps") == 0
    for record in (whole, off):
        fits = record.metrics["fits"]
        assert asked([record], math.inf) == (4, fits) and asked([record], 20) == (0, 0)
        assert asked([record], 21) == (1, np.isfinite(record.series("sample_0")[1][0]))
    table = tables.greedy(results)
    assert [name.endswith("test") for name in table["AutoLR, explore 0"]] == [True, True]
    assert table["windows of the first quarter"] == [0, 0]
    assert table["mean rate of the first half"] == pytest.approx([rates(r)[:40].mean() for r in (whole, off)])


def test_what_is_printed_stands_beside_ours(results: Results) -> None:
    assert "| 94.52 (n = 4) |" in str(tables.shares(results))
    assert "0.02 |" in str(tables.best_and_worst(results))


def test_the_claims_find_their_seeds_and_the_paper_its_cost(tmp_path: Path) -> None:
    desk, paper = experiment.PROFILES["desk"], experiment.PROFILES["paper"]
    planned = Results("desk", Store(tmp_path)).groups
    short, long = (planned["staircase", share].specs for share in (groups.SHORT, groups.LONG))
    assert len(short) == 40 and all(s.get("eigenvalue_images") for s in short) and len(long) == 10
    for ours, theirs in zip(planned["unsaturated", 0.25].specs, planned["autolr", 0.25].specs, strict=True):
        assert set(ours.settings) - set(theirs.settings) == {("saturation", False)}
    for scale in (desk, paper):
        assert overhead(5, scale.superbatch, scale.window) <= 17.1
    assert 2 * desk.window == desk.epoch, "two decisions an epoch"


@pytest.mark.parametrize(
    ("method", "name", "value", "words"),
    [
        ("constant", "lr", 0.2, "its rates do not fall from 0.1"),
        ("autolr", "decision_new_lr", 0.01, "the rate fell at step 20, within explore"),
        ("autolr", "decision_lr", 0.3, "the rate changed between two decisions"),
        ("autolr", "decision", 1.0, "a decision to raise did something else"),
    ],
)
def test_check_raises_when_a_record_breaks_an_invariant(
    results: Results, method: str, name: str, value: float, words: str
) -> None:
    record = results["constant", "momentum"][0] if method == "constant" else results["autolr", 0.5][0]
    values = [value] * len(record.series(name)[1])
    if name == "decision":
        assert (record.series("decision_lr")[1] >= record.series("decision_new_lr")[1]).any()
    stored = {**record.stored, name: {**record.stored[name], "values": values}}
    broken = dataclasses.replace(record, stored=stored)
    with pytest.raises(InvariantError, match=words):
        invariants.check(Results("smoke", Changed(results.store, {record.spec.hash: broken})))
