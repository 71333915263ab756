"""AutoLR: the learning rate from parabolas of the loss along the step."""

from adatune_lite.tuners.autolr.settings import autolr_settings, superbatch
from adatune_lite.tuners.autolr.tuner import AutoLR

__all__ = ["AutoLR", "autolr_settings", "superbatch"]
