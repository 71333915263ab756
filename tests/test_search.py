"""Equal tuning: draws, choice, edges."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from adatune_lite.report.search import LogUniform, choose, draws
from adatune_lite.runs.record import Record
from adatune_lite.tasks.spec import TaskSpec
from adatune_lite.training.outcome import Outcome
from adatune_lite.training.spec import RunSpec

TASK = TaskSpec("mnist5k", train=100, validation=10, test=10, batch=10)


def spec(seed: int, **settings: float) -> RunSpec:
    return RunSpec("training", TASK, "constant", 4, seed, tuple(sorted(settings.items())))


def record(of: RunSpec, loss: float | None) -> Record:
    status, metrics = (
        ("finished", {"validation_loss": loss}) if loss is not None else ("diverged at step 1", {})
    )
    return Record.of(of, Outcome(status, {"lr": [0.1] * 4}, metrics), code="c" * 64, device="cpu")


class Held:
    """A store of given final losses by (lr, seed); None is a diverged run, absent one is not made yet."""

    def __init__(self, losses: dict[tuple[float, int], float | None]) -> None:
        self.losses = losses

    def get(self, of: RunSpec) -> Record | None:
        key = (of.get("lr"), of.seed)
        return record(of, self.losses[key]) if key in self.losses else None


def test_the_same_draw_has_the_same_quantile_in_every_space() -> None:
    narrow, wide = LogUniform(1e-2, 1e-1), LogUniform(1e-6, 1e-2)
    one = draws({"lr": narrow}, {}, 20)
    two = draws({"hyper_lr": wide, "mu": LogUniform(1e-4, 1.0, one_minus=True)}, {"lr": 0.01}, 20)
    for a, b in zip(one, two, strict=True):
        assert narrow.quantile(dict(a)["lr"]) == pytest.approx(wide.quantile(dict(b)["hyper_lr"]), abs=1e-4)
        assert dict(b)["lr"] == 0.01
    assert draws({"lr": narrow}, {}, 5) == one[:5], "fewer draws must be the first ones"


def test_draws_fill_the_range_uniformly_in_the_logarithm() -> None:
    values = [math.log10(dict(s)["lr"]) for s in draws({"lr": LogUniform(1e-4, 1.0)}, {}, 400)]
    assert min(values) >= -4
    assert max(values) <= 0
    for decade in range(-4, 0):
        assert 70 <= sum(decade <= v < decade + 1 for v in values) <= 130  # 100 ± 3.5 standard deviations


def test_one_minus_keeps_mu_below_one() -> None:
    values = [dict(s)["mu"] for s in draws({"mu": LogUniform(1e-4, 1.0, one_minus=True)}, {}, 50)]
    assert all(0 <= v <= 1 - 1e-4 + 1e-9 for v in values)
    assert max(values) > 0.99


def test_the_smallest_mean_over_seeds_is_chosen_and_divergence_counts_as_guessing() -> None:
    losses: dict[tuple[float, int], float | None] = {
        (0.1, 0): 0.5,
        (0.1, 1): 0.5,
        (0.2, 0): 0.1,
        (0.2, 1): None,
        (0.3, 0): 0.2,
        (0.3, 1): 0.9,
    }
    trials = [[spec(s, lr=lr) for s in (0, 1)] for lr in (0.1, 0.2, 0.3)]
    found = choose(trials, Held(losses), {"lr": LogUniform(0.1, 0.3)})
    assert found is not None
    assert dict(found.settings) == {"lr": 0.1}, "0.2 is best on one seed only: (0.1 + ln 10) / 2 > 0.5"
    assert (found.mean_loss, found.trials, found.lost) == (0.5, 3, 1)
    worse = choose(trials, Held({**losses, (0.2, 1): 50.0}), {"lr": LogUniform(0.1, 0.3)})
    assert worse == found, "steps that were huge and finite are no worse than those that were not finite"
    assert found.scored[1][0] == pytest.approx((0.1 + math.log(10)) / 2)


def test_nothing_is_chosen_before_the_last_record_is_there() -> None:
    trials = [[spec(s, lr=lr) for s in (0, 1)] for lr in (0.1, 0.2)]
    losses: dict[tuple[float, int], float | None] = {(0.1, 0): 0.5, (0.1, 1): 0.5, (0.2, 0): 0.1}
    assert choose(trials, Held(losses), {"lr": LogUniform(0.1, 0.3)}) is None


@pytest.mark.parametrize(
    ("best", "edge"), [(0, True), (1, True), (4, False), (7, False), (8, True), (9, True)]
)
def test_a_best_value_near_the_end_of_what_was_drawn_is_named(best: int, edge: bool) -> None:
    values = [0.1 + k / 100 for k in range(10)]
    losses: dict[tuple[float, int], float | None] = {(v, 0): 1.0 for v in values}
    losses[values[best], 0] = 0.1
    found = choose([[spec(0, lr=v)] for v in values], Held(losses), {"lr": LogUniform(0.1, 0.2)})
    assert found is not None
    assert (found.on_edge == ("lr",)) is edge


def test_a_family_is_as_good_as_its_best_member_and_says_which_one_that_is() -> None:
    def family(seed: int, lr: float) -> RunSpec:
        settings = (("hyper_lr", 1e-3), ("lr", lr), ("mu", 0.9))
        return replace(spec(seed, lr=lr), method="marthe", settings=settings)

    plain = [[spec(s, lr=lr) for s in (0, 1)] for lr in (0.1, 0.2, 0.3, 0.4, 0.5)]
    other = [[family(s, lr) for s in (0, 1)] for lr in (0.6, 0.7)]
    losses: dict[tuple[float, int], float | None] = {(k / 10, s): 1.0 for k in range(1, 8) for s in (0, 1)}
    space = {"lr": LogUniform(0.1, 0.7), "mu": LogUniform(0.1, 1.0)}
    one = choose([*plain, *other], Held({**losses, (0.7, 0): 0.2}), space)
    assert one is not None and (one.method, dict(one.settings)["lr"]) == ("marthe", 0.7)
    assert one.on_edge == (), "two draws of the method have no edge, though seven of the family would"
    two = choose([*plain, *other], Held({**losses, (0.5, 0): 0.2}), space)
    assert two is not None and (two.method, two.on_edge) == ("constant", ("lr",)), "it has no mu"
    assert [loss for loss, _ in two.scored] == [1.0] * 4 + [0.6] + [1.0] * 2
    assert [dict(settings)["lr"] for _, settings in two.scored] == [k / 10 for k in range(1, 8)]
