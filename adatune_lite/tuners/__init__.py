"""Online tuners of the learning rate, with one interface."""

from adatune_lite.tuners.autolr import AutoLR, autolr_settings, superbatch
from adatune_lite.tuners.base import Diverged, FixedSchedule, Tuner
from adatune_lite.tuners.classical import CycledMomentum, ReduceOnPlateau
from adatune_lite.tuners.hd import HD
from adatune_lite.tuners.hypergradient import MARTHE
from adatune_lite.tuners.products import PartialProduct
from adatune_lite.tuners.rtho import RTHO

__all__ = [
    "HD",
    "MARTHE",
    "RTHO",
    "AutoLR",
    "CycledMomentum",
    "Diverged",
    "FixedSchedule",
    "PartialProduct",
    "ReduceOnPlateau",
    "Tuner",
    "autolr_settings",
    "superbatch",
]
