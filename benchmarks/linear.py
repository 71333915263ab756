"""How the cost of a whole schedule's hypergradient grows with its steps and with the weights.

Processor time in one thread of one hypergradient with stored iterates and of one plain training, the median
of REPEATS measured in turn. The committed table `benchmarks/linear.json` is what notebook 02 draws;
`python -m benchmarks --only linear` makes it anew in build/bench.
"""

from __future__ import annotations

import os
import platform
import statistics
from typing import Any

import torch

from benchmarks.measure import seconds
from benchmarks.setup import Setup

STEPS = (32, 64, 128, 256, 512)
WIDTHS = (64, 125, 250, 500, 1000)
WIDTH_STEPS = 64
REPEATS = 3


def table() -> dict[str, Any]:
    """Rows by steps (hidden layers of 500) and by weights (WIDTH_STEPS steps), and the machine."""
    return {
        "by_steps": [_row(steps, 500) for steps in STEPS],
        "by_weights": [_row(WIDTH_STEPS, width) for width in WIDTHS],
        "torch": torch.__version__,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, one thread",
        "load": os.getloadavg()[0],
    }


def _row(steps: int, width: int) -> dict[str, float]:
    setup = Setup((width, width))
    setup.plain(2)
    plain, whole = [], []
    for _ in range(REPEATS):
        plain.append(seconds(lambda: setup.plain(steps)))
        whole.append(seconds(lambda: setup.hypergradient(steps)))
    return {
        "steps": steps,
        "weights": sum(w.numel() for w in setup.start.values()),
        "training_seconds": statistics.median(plain),
        "hypergradient_seconds": statistics.median(whole),
    }
