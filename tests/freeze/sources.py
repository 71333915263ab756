"""Which call gives which output: the one module to change when functions move or are renamed.

An output's name is what it is called in the frozen files and stays. By default it is also the call:
"printed.rate_range(t4, sgd)" is `rate_range(results, "t4", "sgd")` of the experiment's module `printed`. What
is called otherwise stands in ELSEWHERE.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any
from unittest.mock import patch

from adatune_lite import claims, notebook
from adatune_lite.__main__ import main as command_line
from adatune_lite.claims import Verdict
from adatune_lite.experiments import EXPERIMENTS, decision, find
from adatune_lite.runs import state
from adatune_lite.runs.worker import Planned

from .records import ROOT

PROFILES = ("smoke", "quick", "desk", "paper")
_CELLS = [
    f"{table}, {optimizer}" for table in ("t14", "t13", "t4") for optimizer in ("sgd", "momentum", "adam")
]

TEXTS: dict[str, list[str]] = {
    "01": [
        *("tables.setting", "tables.finding", "tables.at_fixed_mu", "tables.comparison", "tables.costs"),
        *("tables.settings", "tables.nearness", "tables.transfer", "decision.chapter", "finding"),
    ],
    "02": [
        *("tables.setting", "tables.finding", "tables.errors", "tables.faults(momentum)", "tables.calm"),
        *("tables.faults(adam)", "tables.faults(sgd)", "tables.untrained", "tables.meanings"),
        *("tables.adaptive", "tables.projection", "tables.settings", "tables.locality", "tables.batchnorm"),
        *("tables.lean", "tables.growth", "decision.optimizers", "finding"),
    ],
    "03": ["tables.setting", "tables.finding", "tables.minima", "tables.fits"],
    "04": ["tables.setting", "tables.finding", "tables.smallest", "tables.costs", "tables.sizes"],
    "05": [
        *("tables.setting", "tables.finding", "tables.shares", "tables.saturation", "tables.greedy"),
        *("tables.appendix_d", "tables.width", "tables.best_and_worst"),
    ],
    "06": [
        *("tables.setting", "findings.finding", "findings.first_page", "findings.chapter", "findings.judged"),
        *("tables.paper(t14)", "tables.paper(t13)", "tables.paper(t4)"),
        *(f"printed.rate_range({cell})" for cell in _CELLS),
        *("tables.tuned", "printed.table_9", "tables.safeguards", "tables.seed_rates", "tables.equal_cost"),
        *("tables.one_cycle", "opened.decisions", "opened.reasons", "tables.not_run"),
    ],
}
"""Every text of an experiment's page, and those that chapters take from it."""
NUMBERS = tuple(TEXTS)
"""Experiments that were frozen; later ones are not."""

FIGURES: dict[str, list[str]] = {
    "01": [
        *("plots.schedules", "plots.comparison", "plots.mu_hyper_lr_map", "plots.outer_loop"),
        *("plots.nearness", "plots.transfer", "plots.sensitivity"),
    ],
    "02": [
        *("plots.errors", "plots.schedules", "plots.costs_of_faults", "plots.locality", "plots.lean"),
        "plots.growth",
    ],
    "03": ["plots.examples", "plots.networks", "plots.along_training", "plots.settings"],
    "04": ["plots.noise", "plots.decisions", "plots.cost"],
    "05": [
        *("plots.plateau_of_the_loss", "plots.cut(sgd)", "plots.cut(momentum)", "plots.explore"),
        *("plots.autolr_curves", "plots.width"),
    ],
    "06": [
        *(f"plots.curves({cell})" for cell in _CELLS),
        *("plots.overlay(t4)", "plots.tuned", "plots.safeguards", "plots.seed_rates", "plots.range_test"),
    ],
}
"""Every figure."""

ELSEWHERE: dict[str, Callable[[Any], Any]] = {
    "01/decision.chapter": lambda results: decision.chapter(results),
    "01/finding": lambda results: _part("01", "tables").finding(results),
    "02/finding": lambda results: find("02").finding(results.profile, results.store),
    "02/decision.optimizers": lambda results: decision.optimizers(results),
    "02/tables.growth": lambda results: _part("02", "tables").growth(_growth()),
    **{
        f"06/printed.rate_range({cell})": lambda results, cell=cell: _part("06", "tables").rate_range(
            results, *cell.split(", ")
        )
        for cell in _CELLS
    },
    "06/printed.table_9": lambda results: _part("06", "tables").table_9(results),
    "06/opened.decisions": lambda results: _part("06", "tables").decisions(results),
    "06/opened.reasons": lambda results: _part("06", "tables").reasons(results),
    "02/plots.growth": lambda results: _part("02", "plots").growth(_growth()),
}
"""Outputs whose call does not follow from their name, as functions of the experiment's results."""


def call(number: str, name: str, results: Any) -> Any:
    """A text or a figure by its name."""
    if elsewhere := ELSEWHERE.get(f"{number}/{name}"):
        return elsewhere(results)
    parts = re.fullmatch(r"(\w+)\.(\w+)(?:\((.*)\))?", name)
    assert parts, f"{name} of experiment {number} names no call: write it as module.function(arguments)"
    module, function, arguments = parts.groups()
    return getattr(_part(number, module), function)(results, *(arguments.split(", ") if arguments else ()))


def plan(number: str, profile: str, store: Any) -> list[Planned]:
    """All runs of a profile, as far as they are known from a store (anything with `get`)."""
    planned: list[Planned] = find(number).plan(profile, store)
    return planned


def open_results(number: str, profile: str, store: Any) -> Any:
    """What texts, figures and verdicts read."""
    return find(number).results(profile, store)


def verdicts(number: str, results: Any) -> list[Verdict]:
    """The verdicts of one experiment's claims."""
    return claims.verdicts(results)


def verdict_table(found: list[Verdict]) -> str:
    """The verdicts as a page shows them."""
    return claims.table_markdown(found)


def checked(number: str, results: Any) -> int:
    """How many records the invariants have seen."""
    count: int = _part(number, "invariants").check(results)
    return count


def included() -> dict[str, str]:
    """What the site's chapters take from records; the working folder is a checkout with the kept ones."""
    frozen = {name: module for name, module in EXPERIMENTS.items() if name.split("_")[0] in TEXTS}
    profiles = state.read(frozen.values())
    best = {name: notebook.best_profile(name) for name in frozen}
    return {
        **notebook.includes(),
        "state.md": state.state_markdown(profiles),
        "times.md": state.times_markdown(profiles),
        "best profiles": "\n".join(f"{name}: {profile}" for name, profile in best.items()),
    }


def scorecard() -> str:
    """What the command line prints of all claims; the working folder is a checkout with the kept records."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        assert command_line(["scorecard"]) == 0
    return printed.getvalue()


@contextmanager
def every_record_fresh() -> Iterator[None]:
    """Nobody asks whether the code has changed since a record was made: other tests see to that."""
    with patch("adatune_lite.runs.store.is_stale", _no), patch("adatune_lite.runs.state.is_stale", _no):
        yield


def shown(number: str, results: Any) -> list[tuple[str, Any, list[Any], str]]:
    """What the page shows, in its order: (kind, text or figure, records under it, its words for the blind).

    The cells of the notebook are run with `results` in place of what they would load.
    """
    found: list[tuple[str, Any, list[Any], str]] = []
    catch = {
        "load": lambda *given, **more: results,
        "badge": lambda profile, records=(): found.append(("badge", profile, list(records), "")),
        "table": lambda text: found.append(("table", text, [], "")),
        "provenance": lambda records: found.append(("provenance", "", list(records), "")),
        "show": lambda figure, records, alt: found.append(("figure", figure, list(records), alt)),
        "picture": lambda figure, alt: found.append(("figure", figure, [], alt)),
    }
    (page,) = (ROOT / "notebooks").glob(f"{number}_*.ipynb")
    cells = json.loads(page.read_text(encoding="utf-8"))["cells"]
    names: dict[str, Any] = {"__name__": "page"}
    with contextlib.ExitStack() as stack:
        for name, caught in catch.items():
            stack.enter_context(patch.object(notebook, name, caught))
        stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        for cell in cells:
            if cell["cell_type"] == "code":
                exec("".join(cell["source"]), names)
    return found


def _no(record: object) -> bool:
    return False


def _part(number: str, name: str) -> ModuleType:
    return importlib.import_module(f"{find(number).__name__}.{name}")


def _growth() -> dict[str, Any]:
    measured: dict[str, Any] = json.loads((ROOT / "benchmarks" / "linear.json").read_text(encoding="utf-8"))
    return measured
