"""Records of AutoLR's experiments that never ran, made up for the judges of its claims."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from smoke_runs import Changed
from synthetic import WOBBLE

from adatune_lite import claims
from adatune_lite.claims import Claim, Verdict
from adatune_lite.claims.verdict import judges_of
from adatune_lite.experiments import autolr_vs_schedules as six
from adatune_lite.experiments import explore_exploit as five
from adatune_lite.report.search import Reader
from adatune_lite.runs.record import Record
from adatune_lite.training.spec import RunSpec

Series = dict[str, tuple[list[int], list[float]]]


def wobble(seed: int, k: int = 0) -> float:
    """Hundredths that differ by seed, of no trend."""
    return 10 * WOBBLE[(7 * seed + 3 * k) % len(WOBBLE)] + 1e-4 * seed


class Made:
    """A store whose records come from `accuracy`, `loss` and `changes` of their specs."""

    def __init__(
        self,
        accuracy: Callable[[RunSpec], float | None],
        loss: Callable[[RunSpec], float] = lambda spec: 0.1,
        decided: Callable[[RunSpec], dict[int, float]] = lambda spec: {},
        source: str = "torchvision",
        **metrics: Callable[[RunSpec], float],
    ) -> None:
        self.accuracy, self.loss, self.decided = accuracy, loss, decided
        self.source, self.metrics = source, metrics

    def get(self, spec: RunSpec) -> Record | None:
        value = self.accuracy(spec)
        if value is None:
            return None
        decided = self.decided(spec) if spec.method != "lr_range" else {}
        before = [float(spec.get("lr")), *decided.values()][:-1] if decided else []
        losses = np.geomspace(2.0, self.loss(spec), 64)
        steps = np.linspace(0, spec.steps - 1, 64).round().astype(int).tolist()
        series: Series = {
            "lr": (steps, [0.1] * 64),
            "train_loss": (steps, losses.tolist()),
            "decision": (list(decided), [0.0] * len(decided)),
            "decision_lr": (list(decided), before),
            "decision_new_lr": (list(decided), list(decided.values())),
        }
        metrics = {
            **{"test_accuracy": value, "train_loss": self.loss(spec), "validation_loss": 0.3},
            **{"raise": 10.0, "lower": 10.0, "rollback": 0.0, "minimum": 0.09},
            **{name: of(spec) for name, of in self.metrics.items()},
        }
        stored: dict[str, Any] = {k: {"steps": s, "values": v} for k, (s, v) in series.items()}
        cost = {"plain_steps": spec.steps, "look_steps": 0.1 * spec.steps}
        cost["training_seconds"] = (50 + spec.seed) * (1.25 if spec.method == "autolr" else 1.0)
        told = {"data_source": self.source}
        return Record(spec, "made up", "cpu", {}, "finished", stored, metrics, cost, told)


def without_sgd_on_cifar10(store: Made) -> Changed:
    """The same store without the desk's runs of plain SGD on CIFAR-10."""
    cell = six.results("desk", store).under("t4", "sgd").values()
    return Changed(store, {spec.hash: None for group in cell for spec in group.specs})


@cache
def registered() -> dict[str, Claim]:
    return {c.id: c for c in claims.load()}


def judged(name: str, store: Reader, profile: str = "desk") -> Verdict:
    module = next(m for m in (five, six) if f"autolr.{name}" in judges_of(m))
    found = module.results(profile, store)
    return judges_of(module)[f"autolr.{name}"](registered()[f"autolr.{name}"], found)
