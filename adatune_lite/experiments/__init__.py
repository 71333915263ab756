"""The experiments of the papers: one module each, found by number or name."""

from __future__ import annotations

from types import ModuleType

from adatune_lite.experiments import (
    autolr_vs_schedules,
    explore_exploit,
    is_the_hypergradient_right,
    lrs_opt_vs_marthe,
    quadratic_fit,
    superbatch,
)

EXPERIMENTS: dict[str, ModuleType] = {
    module.NAME: module
    for module in (
        lrs_opt_vs_marthe,
        is_the_hypergradient_right,
        quadratic_fit,
        superbatch,
        explore_exploit,
        autolr_vs_schedules,
    )
}


class UnknownExperiment(LookupError):
    """No experiment has this name or number."""

    def __str__(self) -> str:
        return str(self.args[0])


def find(name: str) -> ModuleType:
    """The module of an experiment, by its name ("01_lrs_opt_vs_marthe") or number ("01", "1").

    Raises UnknownExperiment with the names that exist.
    """
    for full, module in EXPERIMENTS.items():
        if name in (full, full.split("_")[0]) or (name.isdigit() and int(name) == int(full.split("_")[0])):
            return module
    raise UnknownExperiment(f"unknown experiment {name!r}; there are: {', '.join(EXPERIMENTS)}")
