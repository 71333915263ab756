"""RTHO: the undiscounted forward hypergradient (arXiv 1703.01785)."""

from __future__ import annotations

from typing import Any

import torch

from adatune_lite.tuners.hypergradient import MARTHE
from adatune_lite.tuners.tuned import PerName


class RTHO(MARTHE):
    """Real-time hyper-parameter optimisation: the undiscounted forward hypergradient (mu = 1).

    every: the published hyper-batch; MARTHE's paper compares with 1.
    """

    def __init__(
        self, optimizer: torch.optim.Optimizer, hyper_lr: float | str | PerName = 1e-6, **options: Any
    ) -> None:
        super().__init__(optimizer, 1.0, hyper_lr, **options)
