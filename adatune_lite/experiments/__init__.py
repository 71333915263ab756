"""The experiments of the papers: a package each, found by number or name. How one is made:

`autolr_vs_schedules` is the pattern. A package has these modules, each with one reason to change:

    scale.py      Scale, a frozen dataclass of how large a profile is, and PROFILES: smoke, quick, desk, paper
                  (in groups.py where both are short)
    groups.py     groups(scale, page): every run that the experiment wants, in the order of the plan
    reading.py    Results, its page: name, profiles, `declare = staticmethod(groups)`, and what is derived
    tables.py     functions of the results that give a `Table` of rows and columns, or a sentence
    findings.py   what was found, in sentences (where there are many)
    plots.py      functions of the results that give a figure
    verdicts/     the judges of the papers' claims, registered when they are imported
    invariants.py check(results): what must hold in every record
    canary.py     runs(): every kind of run, very small, in float64
    __init__.py   what is asked and why, and the names NAME, TITLE, PROFILES, results = Results,
                  plan = Results.plan

**Groups** (`report.groups`). `yield Group(key, name, role, specs)`: the key says what the runs are, the name
is for readers, the role (`Role`: label in the records, priority, why) what they are for. `yield Search(...)`
has trials and their space. Where runs depend on others, ask the page for groups that were yielded before:
`page.choice("tuning", method)`, `page["range", "t4"]`; while the answer is not there yet, and in profiles
that do not have such runs, yield the group without specs, so that the keys are always the same. The plan,
what is missing, the records by key and the names in tables and curves follow. Nothing else builds a RunSpec.

**Reading.** `results[key]` are the records of a group, `results["safeguards"]` of all whose key begins so,
`results.by("safeguards")` the same by the rest of the key. A page reads each run once and does not look
again.

**Tables** (`report.tables`). `rows(results, "safeguards", against="whole")` gives a row for each group;
columns take a value from a row; a `Comparison` adds the difference by seed to the row it is `against`, with
its interval and p after Holm over the table. `str(table)` is what the page shows, `table.csv()` the values.

**Claims** (`claims.kinds`). One call registers the judge of one claim, by its id in full and the keys of the
groups that it reads: `absolute`, `difference`, `ordering`, `trend`, `fit`, `limits`, `every_run`. What fits
none is a function (claim, results) -> Finding under `@judge("the.id")`. Its test was fixed before the runs
were made: how an open word of it is read stands in the module's docstring. `python -m adatune_lite scorecard
ID` shows one.

**A part more** is a constant and a `yield` in groups.py, a table or a figure, a cell of the notebook, a kind
of run in canary.py. **An experiment more** is a package, its line in EXPERIMENTS below, and a thin notebook
with its number.
"""

from __future__ import annotations

from types import ModuleType

from adatune_lite.experiments import (
    as_published_on_cifar,
    autolr_vs_schedules,
    cifar_learning_curves,
    explore_exploit,
    is_the_hypergradient_right,
    lrs_opt_vs_marthe,
    quadratic_fit,
    random_search,
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
        cifar_learning_curves,
        random_search,
        as_published_on_cifar,
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
