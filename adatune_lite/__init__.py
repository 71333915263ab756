"""adatune_lite: automatic learning-rate schedules, exact, resumable and judged.

The public names, one list. Only torch, numpy and the standard library are imported here.
"""

from adatune_lite import notebook, rules, schedules, tasks
from adatune_lite.engine.curvature import LossError
from adatune_lite.engine.eigenvalue import NoEigenvalue, top_eigenvalue
from adatune_lite.engine.hypergradient import Problem, schedule_hypergradient
from adatune_lite.engine.lrs_opt import lrs_opt
from adatune_lite.engine.seeds import SeedProblem, lrs_opt_seeds, seed_hypergradients
from adatune_lite.loaders import cycle
from adatune_lite.rules import UnsupportedOptimizer
from adatune_lite.tuners import (
    HD,
    MARTHE,
    RTHO,
    AutoLR,
    CycledMomentum,
    Diverged,
    FixedSchedule,
    PartialProduct,
    ReduceOnPlateau,
    Tuner,
    autolr_settings,
    superbatch,
)
from adatune_lite.tuning.hyper_lr import find_hyper_lr
from adatune_lite.tuning.hypergradcheck import Hypergradcheck, HypergradcheckError, hypergradcheck
from adatune_lite.tuning.lr_range import lr_range_test

__version__ = "0.1.0"

__all__ = [
    "HD",
    "MARTHE",
    "RTHO",
    "AutoLR",
    "CycledMomentum",
    "Diverged",
    "FixedSchedule",
    "Hypergradcheck",
    "HypergradcheckError",
    "LossError",
    "NoEigenvalue",
    "PartialProduct",
    "Problem",
    "ReduceOnPlateau",
    "SeedProblem",
    "Tuner",
    "UnsupportedOptimizer",
    "autolr_settings",
    "cycle",
    "find_hyper_lr",
    "hypergradcheck",
    "lr_range_test",
    "lrs_opt",
    "lrs_opt_seeds",
    "notebook",
    "rules",
    "schedule_hypergradient",
    "schedules",
    "seed_hypergradients",
    "superbatch",
    "tasks",
    "top_eigenvalue",
]
