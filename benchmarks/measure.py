"""Ratios of running times, robust against what else the machine does."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch


@dataclass
class Row:
    """One line of the table."""

    what: str
    value: float
    low: float
    high: float
    target: float | None
    unit: str
    note: str = ""

    @property
    def holds(self) -> bool:
        return self.target is None or self.low <= self.target


def median_interval(ratios: list[float]) -> tuple[float, float, float]:
    """Median and its 95 % interval: the order statistics at n/2 -+ 0.98 sqrt(n)."""
    ordered, n = sorted(ratios), len(ratios)
    reach = 0.98 * math.sqrt(n)
    low, high = math.floor(n / 2 - reach), math.ceil(n / 2 + reach)
    return statistics.median(ordered), ordered[max(0, low - 1)], ordered[min(n - 1, high)]


def seconds(work: Callable[[], object], repeats: int = 1) -> float:
    """With one thread the processor's time, which other processes hardly disturb; else time on the clock."""
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    start = clock()
    for _ in range(repeats):
        work()
    return clock() - start


def ratios(
    baseline: Callable[[], object], work: Callable[[], object], pairs: int, repeats: int = 1
) -> list[float]:
    """`work` over `baseline`, pair by pair, after two pairs that do not count."""
    found = []
    for k in range(pairs + 2):
        if k % 2:
            above, below = seconds(work, repeats), seconds(baseline, repeats)
        else:
            below, above = seconds(baseline, repeats), seconds(work, repeats)
        found.append(above / below)
    return found[2:]


def show(row: Row) -> str:
    spread = f"{row.low:.4g} to {row.high:.4g}" if row.low != row.high else ""
    verdict = "" if row.target is None else f"at most {row.target:g}: {'holds' if row.holds else 'MISSED'}"
    return f"{row.what:44} {row.value:9.4g} {spread:>16}  {row.unit:16} {verdict:22} {row.note}"
