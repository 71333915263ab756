"""Equal tuning: the same random draws for every method, a choice by mean E, and the edges of the search."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from adatune_lite.report.lost import E, is_lost, metric
from adatune_lite.runs.store import Reader
from adatune_lite.tasks.spec import Pairs, Value, pairs
from adatune_lite.training.spec import RunSpec

__all__ = ["Choice", "LogUniform", "Reader", "Space", "choose", "draws"]

DRAWS_TAG = 1910_08525
"""Purpose of the generator of draws; a change would be another search."""


@dataclass(frozen=True)
class LogUniform:
    """A range searched uniformly in the logarithm; `one_minus` draws 1 - value instead."""

    low: float
    high: float
    one_minus: bool = False

    def at(self, u: float) -> float:
        """The value at the quantile u in [0, 1], rounded to 6 digits so that it can be quoted whole."""
        value = float(f"{math.exp(math.log(self.low) + u * math.log(self.high / self.low)):.6g}")
        return 1.0 - value if self.one_minus else value

    def quantile(self, value: float) -> float:
        """The inverse of `at`."""
        inner = 1.0 - value if self.one_minus else value
        return math.log(inner / self.low) / math.log(self.high / self.low)


Space = Mapping[str, LogUniform]


def draws(space: Space, fixed: Mapping[str, Value], count: int) -> list[Pairs]:
    """`count` settings: draw k uses the same quantiles in every space, coordinate by coordinate."""
    out = []
    for k in range(count):
        u = np.random.default_rng([DRAWS_TAG, k]).random(len(space))
        out.append(
            pairs({**fixed, **{name: r.at(float(x)) for (name, r), x in zip(space.items(), u, strict=True)}})
        )
    return out


@dataclass(frozen=True)
class Choice:
    """What a search chose, with the evidence."""

    method: str
    """Of the chosen draw: a family searches several."""
    settings: Pairs
    mean_loss: float
    """Mean E over the tuning seeds; a lost run counts as guessing."""
    trials: int
    lost: int
    """Trials that lost at least one tuning seed."""
    on_edge: tuple[str, ...]
    """Settings whose best value has at most one drawn value between it and the end of its range."""
    scored: tuple[tuple[float, Pairs], ...]
    """Mean E and settings of every draw."""
    losses: tuple[float, ...] = ()
    """E of the chosen draw, by tuning seed."""
    gone: tuple[bool, ...] = ()
    """On which of them it is lost."""


def choose(trials: Iterable[list[RunSpec]], store: Reader, space: Space) -> Choice | None:
    """The trial (one spec a tuning seed) with the smallest mean E; None while a record is missing.

    Trials of several methods are a family; settings that the best one does not have are on no edge.
    """
    scored: list[tuple[float, Pairs, str]] = []
    every = []
    for specs in trials:
        records = [store.get(spec) for spec in specs]
        found = [r for r in records if r is not None]
        if len(found) < len(records):
            return None
        every.append((tuple(map(metric(E), found)), tuple(map(is_lost, found))))
        scored.append((fmean(every[-1][0]), specs[0].settings, specs[0].method))
    if not scored:
        return None
    loss, best, method = min(scored)
    losses, gone = every[scored.index((loss, best, method))]
    lost = sum(any(of) for _, of in every)
    drawn = tuple((loss, settings) for loss, settings, _ in scored)
    alike = [settings for _, settings, of in scored if of == method]
    return Choice(method, best, loss, len(scored), lost, _edges(best, alike, space), drawn, losses, gone)


def _edges(best: Pairs, tried: list[Pairs], space: Space) -> tuple[str, ...]:
    edges = []
    for name in filter(dict(best).__contains__, space):
        values = sorted({dict(s)[name] for s in tried if name in dict(s)})
        place = values.index(dict(best)[name])
        if len(values) > 4 and (place < 2 or place >= len(values) - 2):
            edges.append(name)
    return tuple(edges)
