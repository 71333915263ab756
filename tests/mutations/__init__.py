"""The faults that are planted by tests/mutate.py."""

from mutations.behaviour import AUTOLR, RUNS, SPECS, TUNERS
from mutations.canary import LATE
from mutations.derivatives import RULES, SWEEPS
from mutations.fault import Fault
from mutations.refusals import REFUSALS

__all__ = ["FAULTS", "Fault"]

FAULTS = [*RULES, *SWEEPS, *REFUSALS, *TUNERS, *AUTOLR, *RUNS, *SPECS, *LATE]
