"""AutoLR's claims that experiments 05 and 06 judge: outcomes from records that were made up for it."""

from __future__ import annotations

import numpy as np
import pytest
from made_up import Made, judged, without_sgd_on_cifar10, wobble

from adatune_lite.experiments import autolr_vs_schedules as six
from adatune_lite.experiments import explore_exploit as five
from adatune_lite.experiments.autolr_records import accuracies, first_fall, rates
from adatune_lite.experiments.explore_exploit.groups import LONG
from adatune_lite.report.statistics import paired
from adatune_lite.runs.record import Record
from adatune_lite.training.spec import RunSpec


def share_of(spec: RunSpec) -> float:
    """Of explore, whatever the method."""
    return float(spec.get("explore_steps", 0)) / spec.steps or float(spec.get("explore", 0.0))


def by_share(slope: float) -> Made:
    return Made(lambda s: 90 + slope * share_of(s) + wobble(s.seed, round(100 * share_of(s))))


@pytest.mark.parametrize(
    "name", ["t1.trend", "t2.trend", "t2.no_explore_penalty", "s21.long_beats_short_spread"]
)
def test_accuracy_that_rises_with_explore(name: str) -> None:
    assert judged(name, by_share(10)).outcome == "supported"
    assert judged(name, by_share(-10)).outcome == "contradicted"
    level = judged(name, by_share(0)).outcome
    assert level == ("equivalent" if name == "t2.no_explore_penalty" else "undecided")


def test_the_two_tests_of_table_2_are_one_family() -> None:
    """Ends alone that differ with 0.025 < p < 0.05: no longer enough beside a trend that is not there."""
    ends = (0.6, 0.1, 0.4, 0.9, 0.05)

    def accuracy(spec: RunSpec) -> float:
        share = share_of(spec)
        return 90 + (ends[spec.seed] if share == 0.5 else 0.0) + (3 * (0.5 - share) if share > 0 else 0.0)

    found = judged("t2.no_explore_penalty", Made(accuracy))
    alone = 0.0304  # Of these five differences.
    assert found.outcome == "undecided" and found.statistic["p"] == pytest.approx(2 * alone, rel=0.01)
    assert judged("t2.trend", Made(accuracy)).statistic["p"] > alone


def test_the_substitute_of_imagenet_is_named() -> None:
    found = judged("t3.autolr_vs_baseline", gain(1.0))
    assert found.outcome == "supported" and found.why.startswith("On Fashion-MNIST for ImageNet")
    assert judged("t3.autolr_vs_baseline", gain(-1.0)).outcome == "contradicted"


def test_width_decides_over_twenty_runs() -> None:
    def widths(sign: float, least: int = 0) -> Made:
        return Made(
            lambda s: 90 + 0.01 * s.seed + wobble(s.seed) if s.seed >= least else None,
            top_eigenvalue=lambda s: 5 + sign * 0.1 * s.seed,
        )

    found = judged("s21.eigenvalue_width", widths(-1))
    assert found.outcome == "supported" and found.seeds == 40
    assert judged("s21.eigenvalue_width", widths(1)).outcome == "contradicted"
    few = judged("s21.eigenvalue_width", widths(-1, least=25))
    assert few.outcome == "undecided" and "5 of 20 runs" in few.why


def test_equal_losses_need_neither_rank_nor_size_to_differ() -> None:
    def losses(slope: float) -> Made:
        return Made(lambda s: 90 + 0.01 * s.seed, lambda s: 0.1 + slope * s.seed + 1e-5 * wobble(s.seed))

    assert judged("s21.equal_train_loss", losses(0)).outcome == "supported"
    assert judged("s21.equal_train_loss", losses(1e-4)).outcome == "supported", "within 10 %"
    assert judged("s21.equal_train_loss", losses(2e-3)).outcome == "contradicted"


def test_a_rare_wide_minimum_is_a_share_below_a_half() -> None:
    def reached(count: int) -> Made:
        return Made(lambda s: 91.0 if share_of(s) == LONG or s.seed < count else 90.0)

    for count, outcome in ((2, "supported"), (20, "undecided"), (38, "contradicted")):
        assert judged("s21.rare_wide_minimum", reached(count)).outcome == outcome


def test_the_plateau_is_two_slopes_and_an_early_break() -> None:
    store = Made(lambda s: 90.0)
    straight = judged("fig2.plateau", store)
    assert straight.outcome == "contradicted" and straight.statistic["ratio"] == pytest.approx(1, rel=0.01)

    class Bent(Made):
        def get(self, spec: RunSpec) -> Record | None:
            record = super().get(spec)
            assert record is not None
            x = np.linspace(0, 1, 64)
            record.stored["train_loss"]["values"] = np.exp(-8 * np.minimum(x, 0.3) - 0.2 * x).tolist()
            return record

    assert judged("fig2.plateau", Bent(lambda s: 90.0)).outcome == "supported"
    momentum = Bent(lambda s: None if s.optimizer_settings else 90.0)
    assert judged("fig2.plateau", momentum).outcome == "supported", "plain SGD decides"
    assert len(judged("fig2.plateau", momentum).runs) == 5


def test_the_cut_is_compared_where_the_claim_says() -> None:
    cut = Made(lambda s: 90.0, lambda s: (0.01 if s.method == "staircase" else 0.1) * (1 + wobble(s.seed)))
    assert judged("fig3.cut_speeds_descent", cut).outcome == "supported"
    kept = Made(lambda s: 90.0, lambda s: (0.1 if s.method == "staircase" else 0.01) * (1 + wobble(s.seed)))
    assert judged("fig3.cut_speeds_descent", kept).outcome == "contradicted"
    momentum = Made(lambda s: 90.0 if s.optimizer_settings else None)
    assert judged("fig3.cut_speeds_descent", momentum).outcome == "not run", "plain SGD decides"


def test_greedy_cuts_come_early_and_lower_the_mean_rate() -> None:
    early = Made(lambda s: 90.0, decided=lambda s: {39: 0.12, 78: 0.05})
    assert judged("s21.greedy_cuts_early", early).outcome == "supported"
    late = Made(lambda s: 90.0, decided=lambda s: {39: 0.12, 390: 0.05})
    assert judged("s21.greedy_cuts_early", late).outcome == "contradicted"


def test_rates_come_from_the_decisions() -> None:
    spec = five.results("desk", Made(lambda s: 90.0)).groups["autolr", 0.0].specs[0]
    record = Made(lambda s: 90.0, decided=lambda s: {39: 0.12, 78: 0.05}).get(spec)
    assert record is not None and first_fall(record) == 78
    found = rates(record)
    assert len(found) == 780 and found[37] == 0.1 and found[38] == found[76] == 0.12 and found[77] == 0.05


def gain(points: float, spread: float = 1.0) -> Made:
    """AutoLR above its baseline by so many points."""
    return Made(
        lambda s: 90 + wobble(s.seed) * spread * (s.method == "autolr") + points * (s.method == "autolr")
    )


@pytest.mark.parametrize(
    ("points", "outcomes"),
    [
        (1.0, ("supported",) * 3),
        (-1.0, ("contradicted",) * 3),
        (0.0, ("equivalent", "supported", "supported")),
    ],
)
def test_differences_are_judged_as_their_table_says(points: float, outcomes: tuple[str, ...]) -> None:
    store = gain(points)
    assert judged("t14.adam.diff", store).outcome == outcomes[0]
    assert judged("t4.sgd.diff", store, "paper").outcome == outcomes[1]
    assert judged("abs.match_or_beat", store).outcome == outcomes[2]
    assert judged("t13.sgd.diff", store).outcome == ("supported" if points == 0 else "contradicted")
    assert judged("fig9_20.final_order", store).outcome == outcomes[2]


def test_a_table_is_one_family() -> None:
    def one(spec: RunSpec) -> float:
        noisy = (0.0, 0.5, 0.3, 0.1, 0.2)[spec.seed] if spec.method == "autolr" and spec.seed < 5 else 0.0
        return 90 + noisy * (spec.optimizer == "adam") + wobble(spec.seed) * (spec.method == "autolr")

    sides = six.results("desk", Made(one)).by("t14", "adam")
    alone = paired(*(accuracies(sides[side]) for side in ("autolr", "baseline")))
    assert alone is not None and 0.05 / 3 < alone.greater < 0.05
    found = judged("t14.adam.diff", Made(one))
    assert found.outcome in ("undecided", "equivalent")
    assert found.statistic["p"] == pytest.approx(3 * alone.greater, rel=0.01)


def test_printed_numbers_need_their_scale_and_the_published_images() -> None:
    at = Made(lambda s: 94.79 + wobble(s.seed))
    assert judged("t4.momentum.autolr", at, "paper").outcome == "reproduced"
    assert judged("t2.explore100", at, "paper").outcome == "reproduced"
    assert judged("t4.sgd.autolr", at, "quick").outcome == "not run", "no such cell in quick"
    assert judged("t4.sgd.autolr", at).outcome == "not run at the printed scale"
    assert judged("t4.momentum.autolr", at).outcome == "not run at the printed scale"
    assert judged("t3.autolr.top1", at).why == "No data: it needs ImageNet."
    assert judged("t13.momentum.autolr", at).outcome == "not run at the printed scale"
    copy = Made(lambda s: 94.79 + wobble(s.seed), source="Parquet (JPEG copy)")
    assert judged("t4.momentum.autolr", copy, "paper").outcome == "undecided"
    assert (
        judged("t4.momentum.autolr", Made(lambda s: 92.0 + wobble(s.seed)), "paper").outcome == "contradicted"
    )


def test_seed_rates_below_the_reference_matter_less() -> None:
    def drop(low: float, high: float) -> Made:
        def accuracy(spec: RunSpec) -> float:
            factor = float(spec.get("lr", 0.1)) / 0.1
            return 90 + wobble(spec.seed) - (low if factor < 1 else high) * abs(factor - 1)

        return Made(accuracy)

    assert judged("t12.insensitive_low", drop(0.1, 2.0)).outcome == "supported"
    assert judged("t12.insensitive_low", drop(2.0, 0.1)).outcome == "contradicted"
    assert judged("t12.insensitive_low", drop(1.0, 2.0)).outcome == "undecided", "beyond the margin"


def test_training_losses_by_optimizer() -> None:
    def losses(factor: dict[str, float]) -> Made:
        def loss(spec: RunSpec) -> float:
            plain = "momentum" not in dict(spec.optimizer_settings)
            name = "adam" if spec.optimizer == "adam" else "sgd" if plain else "momentum"
            return 0.1 * (factor[name] * (1 + wobble(spec.seed)) if spec.method == "autolr" else 1.0)

        return Made(lambda s: 90.0, loss)

    all_lower = losses({"sgd": 0.5, "momentum": 0.5, "adam": 0.5})
    assert judged("t14.train_loss", all_lower).outcome == "supported"
    mixed = losses({"sgd": 2.0, "momentum": 0.5, "adam": 0.1})
    assert judged("t14.train_loss", mixed).outcome == "contradicted"
    assert judged("t4.momentum.train_loss", mixed, "paper").outcome == "supported"
    assert judged("t4.momentum.train_loss", all_lower, "paper").outcome == "contradicted"
    half = judged("t4.momentum.train_loss", without_sgd_on_cifar10(all_lower))
    assert half.outcome == "undecided" and "missing of sgd" in half.why
    assert judged("t13.adam_loss", losses({"sgd": 1.0, "momentum": 0.9, "adam": 0.1})).outcome == "supported"
    assert (
        judged("t13.adam_loss", losses({"sgd": 1.0, "momentum": 0.9, "adam": 0.9})).outcome == "contradicted"
    )


def test_every_run_means_every_run() -> None:
    calm = Made(lambda s: 90.0, decided=lambda s: {39: 1.01 * s.get("lr"), 390: 0.5 * s.get("lr")})
    wild = Made(
        lambda s: 90.0,
        decided=lambda s: {39: (1.2 if s.seed == 3 else 1.0) * s.get("lr"), 390: 0.2 * s.get("lr")},
    )
    for name in ("fig9_20.explore_drift", "fig15_20.small_range"):
        assert judged(name, calm).outcome == "supported"
        assert judged(name, wild).outcome == "contradicted"


def test_rollbacks_and_cost_are_counted() -> None:
    assert judged("s22.rollback_rare", gain(0)).outcome == "supported"
    often = Made(lambda s: 90.0, rollback=lambda s: 8.0)
    assert judged("s22.rollback_rare", often).outcome == "contradicted"
    found = judged("appc.cost_measured", gain(0))
    assert found.outcome == "supported" and found.statistic == pytest.approx({"cost": 0.1, "bound": 20 / 117})
    assert "In seconds: +25.0% (fashion_mnist sgd), " in found.why


def by_setting(explore: float, threshold: float, noise: float = 1.0) -> Made:
    """Accuracy by the share of explore and by how far a threshold is from Table 8's."""

    def accuracy(spec: RunSpec) -> float:
        far = np.log(spec.get("saturation", 100) / 100) + np.log(spec.get("epsilon_threshold", 1e-3) / 1e-3)
        k = round(100 * share_of(spec) + 10 * far)
        return float(90 + explore * share_of(spec) + threshold * far + noise * wobble(spec.seed, k))

    return Made(accuracy)


def test_thresholds_are_stable_where_explore_moves_accuracy_more() -> None:
    name = "appd.thresholds_stable"
    found = judged(name, by_setting(4, 0.1))
    assert found.outcome == "supported" and found.seeds == 5
    assert found.statistic["explore"] > found.statistic["epsilon_threshold"] > 0
    assert judged(name, by_setting(0.1, 1)).outcome == "contradicted"
    assert judged(name, by_setting(0, 0.01, noise=10)).outcome == "undecided"


def test_a_threshold_without_runs_leaves_no_verdict() -> None:
    full = by_setting(4, 0.1)
    part = Made(lambda s: None if s.get("saturation", 100) == 300 else full.accuracy(s))
    found = judged("appd.thresholds_stable", part)
    assert found.outcome == "undecided" and "saturation 300" in found.why


def test_the_usual_share_of_explore_is_held_against_the_best_other() -> None:
    name = "appd.explore_share"
    assert judged(name, by_setting(0.1, 0)).outcome == "supported"
    assert judged(name, by_setting(5, 0)).outcome == "contradicted", "75 % is better by 2.5 points"
    assert "minus 75%, the best" in judged(name, by_setting(5, 0)).why
    peak = Made(lambda s: 90 - 9 * abs(share_of(s) - 0.25) + wobble(s.seed, round(100 * share_of(s))))
    assert judged(name, peak).outcome == "supported", "the best itself, however far ahead"
    few = Made(lambda s: None if share_of(s) == 0.75 and s.seed else 90 + wobble(s.seed))
    assert judged(name, few).seeds == 1, "over the seeds that all shares have"
    missing = Made(lambda s: None if share_of(s) == 0.75 else 90 + wobble(s.seed))
    assert "explore 75%" in judged(name, missing).why
