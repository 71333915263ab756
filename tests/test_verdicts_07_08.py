"""Claims of MARTHE that experiments 07 and 08 judge: outcomes from records that were made up for it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from made_cifar import MADE, Made, best, off, page
from made_up import registered, wobble

from adatune_lite.claims import Verdict
from adatune_lite.claims.verdict import judges_of
from adatune_lite.experiments import cifar_learning_curves as seven
from adatune_lite.experiments import random_search as eight
from adatune_lite.training.spec import RunSpec


def judged(name: str, store: Made, profile: str = "desk") -> Verdict:
    claim_id = f"marthe.{name}"
    module = next(m for m in (seven, eight) if claim_id in judges_of(m))
    return judges_of(module)[claim_id](registered()[claim_id], page(module, profile, store))


def reverse(spec: RunSpec) -> float:
    """The last first."""
    return 150 - best(spec) - off(spec)


REVERSED = Made(reverse)


def level(spec: RunSpec) -> float:
    return 70 + wobble(spec.seed, len(spec.method)) / 10


def apart(spec: RunSpec) -> float:
    return level(spec) + 5 * (spec.method == "rtho")


def late(share: np.ndarray) -> np.ndarray:
    """A jump at the staircase's cut."""
    return np.where(share > 0.31, 1 - 0.01 * (1 - share), 0.6 + 0.1 * share)


def saw(share: np.ndarray) -> np.ndarray:
    """Falls after each restart of SGDR, rises to the end of its cycle."""
    starts = np.array([0.0, 0.05, 0.15, 0.35, 0.75])
    place = np.searchsorted(starts, share - 1e-4, side="right") - 1
    lengths = np.array([0.05, 0.1, 0.2, 0.4, 0.8])
    return 0.5 + 0.3 * (share - starts[place]) / lengths[place] + 0.1 * place / 4


def peaked(share: np.ndarray) -> np.ndarray:
    return np.exp(-share) * np.where(share < 0.02, 1, 1.3)


@pytest.mark.parametrize(
    ("name", "supports", "contradicts"),
    [
        ("fig3.c10.marthe_minus_rtho", MADE, REVERSED),
        ("fig3.c10.marthe_minus_hd", MADE, REVERSED),
        ("fig3.c10.marthe_minus_exponential", MADE, REVERSED),
        ("fig3.c100.marthe_minus_hd", MADE, REVERSED),
        ("fig3.c10.order", MADE, REVERSED),
        (
            "fig3.c10.rtho_equals_exponential",
            Made(level),
            Made(lambda s: level(s) + 5 * (s.method == "rtho")),
        ),
        ("v1.c10.order", MADE, REVERSED),
        ("v1.marthe_vs_staircase", MADE, REVERSED),
        ("v1.marthe_early_lead", MADE, REVERSED),
        ("v1.c10.hd_slow", MADE, REVERSED),
        ("v1.staircase_jump", Made(rise=late), MADE),
        ("v1.sgdr_saw", Made(rise=saw), MADE),
        ("v1.c10.rtho_plateau", Made(rise=lambda x: 1 - 0.001 * (1 - x)), Made(rise=lambda x: x)),
        ("abs.generalises_better", MADE, REVERSED),
        ("shape.rise_then_decay", Made(rates=peaked), MADE),
        ("shape.exponential_gamma", MADE, None),
        ("shape.hd_monotone", Made(rates=lambda x: np.exp(-20 * x) + 1), Made(rates=peaked)),
    ],
)
def test_outcomes(name: str, supports: Made, contradicts: Made | None) -> None:
    verdict = judged(name, supports)
    assert verdict.outcome == "supported", (verdict.outcome, verdict.why)
    if contradicts:
        verdict = judged(name, contradicts)
        assert verdict.outcome == "contradicted", (verdict.outcome, verdict.why)


@pytest.mark.slow
def test_accuracies_are_judged_at_the_printed_scale_alone() -> None:
    for claim, printed in (("fig3.c10.rtho", 90.0), ("v1.c100.sgdr", 69.4), ("shape.c10.peak", 0.13)):
        assert judged(claim, MADE).outcome == "not run at the printed scale"
        # Ends of searches are seen on test images, a point below; their draws move them.
        near = Made(lambda spec, printed=printed: printed + 1 + wobble(spec.seed), rates=lambda x: 1.3 - x)
        assert judged(claim, near, "paper").outcome == "reproduced"
        assert judged(claim, Made(lambda spec: 50.0), "paper").outcome == "contradicted"


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("fig3.c10.marthe_minus_hd", lambda spec: spec.seed < 104),
        ("abs.generalises_better", lambda spec: spec.seed != 0),
    ],
)
def test_too_few_searches_or_seeds_give_no_verdict(name: str, change: Callable[[RunSpec], bool]) -> None:
    assert judged(name, Made(there=change)).outcome in ("undecided", "not run")


def test_the_kind_of_a_share_counts_what_can_be_told() -> None:
    verdict = judged("shape.rtho_small_rise", Made(rates=lambda x: 1 + 0.02 * x))
    assert verdict.outcome != "supported", "MARTHE rises as little"
    assert judged("shape.not_guaranteed", MADE).outcome == "undecided"
