"""Online tuners of the learning rate, with one interface."""

from adatune_lite.tuners.base import Diverged, FixedSchedule, Tuner
from adatune_lite.tuners.hypergradient import HD, MARTHE, RTHO

__all__ = ["HD", "MARTHE", "RTHO", "Diverged", "FixedSchedule", "Tuner"]
