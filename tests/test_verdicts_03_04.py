"""Judges of claims about AutoLR's parabola and superbatch, on made-up records."""

from __future__ import annotations

import math
from typing import Any

import pytest

from adatune_lite.claims import Verdict, claim_of
from adatune_lite.claims.verdict import judges_of
from adatune_lite.experiments import quadratic_fit, superbatch
from adatune_lite.experiments.quadratic_fit import tables as tables_03
from adatune_lite.experiments.quadratic_fit import verdicts as verdicts_03
from adatune_lite.runs.record import Record
from adatune_lite.training.outcome import Outcome, Series
from adatune_lite.training.probes import SIZES
from adatune_lite.training.quadratic import GRID, SAMPLES
from adatune_lite.training.spec import RunSpec


class Made:
    """A store of made-up records."""

    def __init__(self, records: list[Record]) -> None:
        self._records = {r.spec.hash: r for r in records}

    def get(self, spec: RunSpec) -> Record | None:
        return self._records.get(spec.hash)


def verdict(number: str, results: Any, claim: str) -> Verdict:
    assert results.name.startswith(number)
    return judges_of(results.experiment)[claim](claim_of(claim), results)


COUNT = 12
"""Probes of a made-up run."""


def lines(profile: str, losses: Any, low: float, there: float | list[float]) -> Any:
    """Records of every run but those of further seeds; losses(u, x), x small and other by probe and seed.

    there: the true loss at the minimum, of all probes or of each.
    """
    records = []
    for run in quadratic_fit.plan(profile, Made([])):
        if run.role != "repeated":
            at = list(range(1, COUNT + 1))
            spec = run.spec
            series: dict[str, Any] = {
                f"line {s}": [losses(u, 0.01 * s + 1e-3 * spec.seed) for u in GRID] for s in at
            }
            series |= {
                "fit_minimum": Series([low] * COUNT, at),
                "loss_at_minimum": Series(there if isinstance(there, list) else [there] * COUNT, at),
                "probe_lr": Series([float(spec.get("lr"))] * COUNT, at),
            }
            records.append(Record.of(spec, Outcome("finished", series), code="0" * 64, device="cpu"))
    return quadratic_fit.results(profile, Made(records))


def test_expanding_in_eps_is_judged_recomputation_by_recomputation() -> None:
    name = "autolr.s2.expand_in_eps"
    cubic = lines("desk", lambda u, x: 2 + (u - 0.3) ** 2 + x * u**3, 0.3, 2.0)
    found = verdict("03", cubic, name)
    assert found.outcome == "supported" and found.seeds == 5, found.why
    bent = lines("desk", lambda u, x: 2 + u**2 + (0.1 + x) * (u in SAMPLES[3:]), 0.0, 2.0)
    assert verdict("03", bent, name).outcome == "contradicted", "wrong nearby, right from afar"
    told = tables_03.fits(cubic)
    assert "Fashion" in str(told)
    runs = dict(zip(told["runs that differ in the seed alone"], told["runs (lost)"], strict=True))
    assert len(runs) == len(told.rows) == 18, "the one seed of a further task is among those of its rates"
    assert runs["Fashion-MNIST, dense, SGD, rate 0.1"] == "2 (0)"
    quick = lines("quick", lambda u, x: 2 + (u - 0.3) ** 2, 0.3, 2.0)
    for other in ("autolr.fig5.quadratic_cifar", "autolr.fig5.minimum_value"):
        assert verdict("03", quick, other).outcome == "not run", "other tasks than the claim's"


def near_or_far(u: float, x: float) -> float:
    """Some probes with their minimum among the samples, others with it beyond."""
    return 2 + (u - (0.1 if x < 0.05 else 0.3)) ** 2


@pytest.mark.parametrize(
    ("shape", "there", "r2", "minimum"),
    [
        (lambda u, x: near_or_far(u, x) + x * u**3 / 50, 2.0, "supported", "supported"),
        (lambda u, x: near_or_far(u, x) + 0.06 * math.sin(40 * u), 9.0, "contradicted", "contradicted"),
        (lambda u, x: 2 + (u - 0.1) ** 2 + x * u**3 / 50, 2.0, "supported", "undecided"),
        # Beyond the samples 3 % are allowed and 7 % are not; the first four minima are among them.
        (near_or_far, [2.0] * 4 + [2.1] * 8, "supported", "supported"),
        (near_or_far, [2.0] * 4 + [2.2] * 8, "supported", "contradicted"),
    ],
)
def test_figure_5_is_judged_on_its_own_task(
    shape: Any, there: Any, r2: str, minimum: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = lines("paper", shape, 0.1, there)
    few = verdict("03", results, "autolr.fig5.quadratic_cifar")
    assert few.outcome == "undecided" and "50 recomputations of each run" in few.why
    monkeypatch.setattr(verdicts_03, "RECOMPUTATIONS", COUNT)
    assert verdict("03", results, "autolr.fig5.quadratic_cifar").outcome == r2
    desk = verdict("03", lines("desk", shape, 0.1, there), "autolr.fig5.quadratic_cifar")
    assert desk.outcome == "undecided" and "1 of the 5 seeds" in desk.why and "Median held-out" in desk.why
    found = verdict("03", results, "autolr.fig5.minimum_value")
    assert found.outcome == minimum, found.why
    assert (minimum == "undecided") == ("a minimum outside the samples" in found.why), "no such minimum met"


def spreads(profile: str, power: float = -0.5, **change: float) -> Any:
    """Records of every run: spread size^power, drawn without repetition, decisions as all the claims say."""
    records = []
    for spec in (p.spec for p in superbatch.plan(profile, Made([]))):
        wobble = 1 + 0.01 * spec.seed
        values = {"loss": 0.5, "move": 0.1, "move_3": 0.1}
        measured = int(spec.get("superbatch"))
        for size in (s for s in SIZES if 2 * s <= measured):
            left = math.sqrt(1 - size / measured)
            values[f"loss_std {size}"] = 0.1 * wobble * left * size ** (power * wobble)
            for name in ("agree_5", "agree_3", "samples_agree"):
                values[f"{name} {size}"] = change.get(name, 0.99)
            for name in ("error_5", "error_3", "samples_difference", "variance_ratio"):
                values[f"{name} {size}"] = change.get(name, 0.01) * wobble
        looks = 5 * measured * int(spec.get("probes")) * change.get("price", 1 / 3)
        series = {n: Series([v, v], [1, 2]) for n, v in values.items()}
        outcome = Outcome("finished", series, cost={"look_steps": looks})
        records.append(Record.of(spec, outcome, code="0" * 64, device="cpu"))
    return superbatch.results(profile, Made(records))


@pytest.mark.parametrize(
    ("claim", "power", "change", "outcome"),
    [
        ("autolr.fig7.noise_mnist", -0.5, {}, "supported"),
        ("autolr.fig7.noise_mnist", -0.1, {}, "contradicted"),
        ("autolr.fig7.noise_mnist", -0.8, {}, "undecided"),
        ("autolr.fig7.noise_cifar10", -0.5, {}, "not run"),
        ("autolr.appb.size100_enough", -0.5, {}, "supported"),
        ("autolr.appb.size100_enough", -0.9, {}, "contradicted"),
        ("autolr.appc.three_samples", -0.5, {}, "supported"),
        ("autolr.appc.three_samples", -0.5, {"samples_difference": 0.2}, "contradicted"),
        ("autolr.appc.three_samples", -0.5, {"samples_agree": 0.9}, "contradicted"),
        ("autolr.s22.same_superbatch", -0.5, {}, "supported"),
        ("autolr.s22.same_superbatch", -0.5, {"variance_ratio": 0.7}, "contradicted"),
        ("autolr.appc.cost_bound", -0.5, {}, "reproduced"),
        ("autolr.appc.cost_bound", -0.5, {"price": 0.4}, "contradicted"),
    ],
)
def test_claims_about_the_superbatch(claim: str, power: float, change: Any, outcome: str) -> None:
    found = verdict("04", spreads("desk", power, **change), claim)
    assert found.outcome == outcome, found.why


def test_no_verdict_without_the_sizes_that_the_test_names() -> None:
    for claim in ("autolr.fig7.noise_mnist", "autolr.appc.three_samples", "autolr.s22.same_superbatch"):
        found = verdict("04", spreads("quick"), claim)
        assert found.outcome == "undecided" and "missing of 100 mini-batches" in found.why


@pytest.mark.parametrize(
    ("far", "near", "outcome"), [(3.5, 0.0, "supported"), (0.0, 0.3, "contradicted"), (0.4, 0.2, "undecided")]
)
def test_a_minimum_beyond_the_bound_is_read_beside_where_the_bound_stops_it(
    far: float, near: float, outcome: str
) -> None:
    """A parabola with its minimum at 2; the losses are off it by `far` there and by `near` at the bound."""

    def losses(u: float, x: float) -> float:
        return 5 + (u - 2) ** 2 + (near + x / 9 if u == 0.5 else 0.0)

    found = verdict("03", lines("desk", losses, 2.0, 5 + far), "autolr.fig1.large_eps_breaks_quadratic")
    assert found.outcome == outcome and found.seeds == 5, found.why
    assert f"over {5 * COUNT} of {5 * COUNT} such recomputations" in found.why


def test_a_bound_off_the_grid_is_left_out_and_minima_within_it_are_none_of_the_claim() -> None:
    name = "autolr.fig1.large_eps_breaks_quadratic"
    # A loss of 0.01 puts the trust bound of the rate 0.1 at 0.215 of it.
    small = verdict("03", lines("desk", lambda u, x: 0.01 * (1 + (u - 2) ** 2 / 9), 2.0, 0.02), name)
    assert "missing of SGD, momentum" in small.why
    within = verdict("03", lines("desk", lambda u, x: 2 + (u - 0.3) ** 2, 0.3, 2.0), name)
    assert within.outcome == "undecided" and "missing of SGD, momentum, Adam" in within.why
