"""Records of experiment 01 that never ran: a store that makes up what a test wants to have been found."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from adatune_lite.experiments.lrs_opt_vs_marthe.groups import INNER_MUS, START
from adatune_lite.experiments.lrs_opt_vs_marthe.reading import Results
from adatune_lite.runs.record import Record
from adatune_lite.training.spec import RunSpec

TUNING = 100
"""First seed of the tuning seeds."""
WOBBLE = (0.002, -0.001, 0.0, 0.001, -0.002, 0.0015, -0.0005, 0.001, -0.0015, 0.0005)
"""What seeds differ by, so that no paired difference is constant."""

Value = Callable[[RunSpec], float | None]
Shape = Callable[[RunSpec], np.ndarray]


class Synthetic:
    """A store whose records are made when asked for: E from a function of the spec (None: no record)."""

    def __init__(self, loss: Value, rates: Shape | None = None) -> None:
        self.loss, self.rates = loss, rates or (lambda spec: np.linspace(0.2, 0.1, spec.steps))
        self._made: dict[RunSpec, Record | None] = {}

    def get(self, spec: RunSpec) -> Record | None:
        if spec not in self._made:
            self._made[spec] = self._make(spec)
        return self._made[spec]

    def _make(self, spec: RunSpec) -> Record | None:
        loss = self.loss(spec)
        if loss is None:
            return None
        # Not through Record.of: it writes each record to JSON to know its size, and here are hundreds.
        if not math.isfinite(loss):
            return _record(spec, "diverged at step 3", [0.01] * 4, {})
        rates = self.rates(spec).tolist() if spec.detail == "full" else []
        return _record(spec, "finished", rates, {"validation_loss": loss})


def _record(spec: RunSpec, status: str, rates: list[float], metrics: dict[str, float]) -> Record:
    return Record(spec, "synthetic", "cpu", {}, status, {"lr": {"values": rates}}, metrics, {}, {})


def kind(spec: RunSpec) -> str:
    """The name under which a test gives a run's E: the method, "start", or "mu 0.9" on the grid of mu."""
    settings = dict(spec.settings)
    if spec.method == "constant" and settings["lr"] == START:
        return "start"
    if spec.method == "marthe" and settings["mu"] in INNER_MUS:
        return f"mu {settings['mu']:g}"
    return spec.method


LEVELS = {
    "start": 0.6,
    "constant": 0.2,
    "hd": 0.4,
    "hd_validation": 0.38,
    "rtho": 0.3,
    "marthe": 0.2,
    "lrs_opt": 0.1,
    "mu 0.5": 0.35,
    "mu 0.9": 0.25,
    "mu 0.99": 0.22,
    "mu 0.999": 0.27,
}
"""E of a world in which every claim holds."""


def world(reported: dict[str, float | Sequence[float] | None] | None = None) -> Value:
    """E by `kind`, on reporting seeds as given (None: no record), with a wobble that pairs do not share."""
    given = reported or {}

    def loss(spec: RunSpec) -> float | None:
        name = kind(spec)
        value = LEVELS.get(name, 0.5)
        if spec.seed >= TUNING or name not in given:
            k = spec.seed + len(name)
            return value + WOBBLE[k % len(WOBBLE)]
        told = given[name]
        if told is None or isinstance(told, float):
            return told if told is None else told + WOBBLE[(spec.seed + len(name)) % len(WOBBLE)]
        return told[spec.seed]

    return loss


def shapes(spec: RunSpec, swapped: Mapping[str, str] | None = None) -> np.ndarray:
    """Schedules of that world: LRS-OPT high, then low; MARTHE nearly so; HD low from the start.

    swapped: methods that have the schedule of another one.
    """
    method = (swapped or {}).get(spec.method, spec.method)
    t = np.linspace(0, 1, spec.steps)
    falls = 0.3 * np.exp(-4 * t)
    wavy = 0.02 * np.sin(9 * t + spec.seed)
    return {
        "lrs_opt": falls + 0.05,
        "marthe": falls + 0.05 + 0.2 * wavy,
        "rtho": 0.15 + wavy,
        "hd": 0.02 + wavy / 2,
        "hd_validation": 0.03 + wavy / 2,
    }.get(method, falls + 0.05).clip(1e-4)


def results(loss: Value | None = None, profile: str = "desk", rates: Shape = shapes) -> Results:
    found = Results(profile, Synthetic(loss or world(), rates))
    found.scale = replace(
        found.scale, draws=2, mu_draws=2
    )  # A search of thirty only takes longer to make up.
    return found
