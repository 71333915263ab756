"""What every experiment promises, whatever it is about: one that is added to EXPERIMENTS is held to it too.

Its page is its notebook. Whatever that shows is tried with the records of the smoke profile, with none, and
with some that diverged.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from matplotlib.axes import Axes
from smoke_runs import Changed, Empty, Everything, Smoke

from adatune_lite import claims, notebook
from adatune_lite.claims.verdict import NOT_AT_SCALE, NOT_RUN, UNDECIDED, judges_of
from adatune_lite.experiments import EXPERIMENTS, UnknownExperiment, find
from adatune_lite.experiments.invariants import InvariantError
from adatune_lite.report.search import Reader
from adatune_lite.runs.record import Record
from adatune_lite.runs.worker import Planned
from adatune_lite.training.spec import RunSpec

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"
PROFILES = notebook.ALLOWED["profile"]
LARGER_ALONE = {
    "01_lrs_opt_vs_marthe": {"lrs_opt_long"},
    "02_is_the_hypergradient_right": {"projection"},
    "03_quadratic_fit": {"others", "repeated"},
    "06_autolr_vs_schedules": {"few", "printed"},
}
"""What smoke has no runs for, since it would try no other code."""
WITHOUT_GROUPS = {"02_is_the_hypergradient_right"}
"""Experiments that do not declare their runs as groups."""
SAYS_SO = re.compile(r"No records yet|[Nn]ot run|not complete|Not all runs")
each = pytest.mark.parametrize("experiment", EXPERIMENTS.values(), ids=lambda module: module.NAME[:2])


def part(experiment: ModuleType, name: str) -> ModuleType:
    """A module of an experiment's package."""
    return importlib.import_module(f"{experiment.__name__}.{name}")


def plan(experiment: ModuleType, profile: str, store: Reader) -> list[Planned]:
    found: list[Planned] = experiment.plan(profile, store)
    return found


def everything(results: Any) -> Everything:
    """Records for every run that an experiment may plan, so that it plans all of them."""
    return Everything(results.all_records())


# What an experiment is.


@each
def test_it_is_found_by_its_name_and_number(experiment: ModuleType) -> None:
    name = experiment.NAME
    assert re.fullmatch(r"\d\d_[a-z0-9_]+", name) and experiment.TITLE
    number = name[:2]
    assert find(name) is find(number) is find(str(int(number))) is experiment
    assert tuple(experiment.PROFILES) == PROFILES


def test_what_is_no_experiment_is_refused() -> None:
    with pytest.raises(UnknownExperiment, match=f"there are: {', '.join(EXPERIMENTS)}"):
        find("99")


def test_every_experiment_has_its_notebook_and_every_notebook_its_experiment() -> None:
    assert {path.stem for path in NOTEBOOKS.glob("*.ipynb")} == set(EXPERIMENTS)


# What it plans.


@each
def test_every_planned_run_has_a_record_and_the_invariants_hold(experiment: ModuleType, smoke: Smoke) -> None:
    results, check = smoke(experiment), part(experiment, "invariants").check
    planned = plan(experiment, "smoke", results.store)
    assert check(results) == len(planned) > 0
    assert not results.missing_roles()
    assert check(experiment.results("smoke", Empty())) == 0


@each
def test_smoke_tries_the_runs_of_all_profiles(experiment: ModuleType, smoke: Smoke) -> None:
    store = everything(smoke(experiment))
    roles = {profile: {run.role for run in plan(experiment, profile, store)} for profile in PROFILES}
    assert set().union(*roles.values()) - roles["smoke"] == LARGER_ALONE.get(experiment.NAME, set())


@each
@pytest.mark.parametrize("profile", PROFILES)
def test_a_plan_has_each_run_once_and_grows_with_the_records(
    experiment: ModuleType, profile: str, smoke: Smoke
) -> None:
    planned = plan(experiment, profile, everything(smoke(experiment)))
    assert {(run.experiment, run.profile) for run in planned} == {(experiment.NAME, profile)}
    assert all(run.role and math.isfinite(run.priority) for run in planned)
    hashes = [run.spec.hash for run in planned]
    assert len(set(hashes)) == len(hashes)
    first = {run.spec.hash for run in plan(experiment, profile, Empty())}
    assert first and first <= set(hashes)
    assert len(first) < len(hashes) or not any("tuning" in run.role for run in planned)


@each
def test_every_profile_and_store_has_the_same_groups(experiment: ModuleType, smoke: Smoke) -> None:
    """So that a key that is not there is a mistyped one."""
    if experiment.NAME in WITHOUT_GROUPS:
        assert not hasattr(smoke(experiment), "groups"), "the entry in WITHOUT_GROUPS has to go"
        return
    stores = (Empty(), everything(smoke(experiment)))
    keys = {frozenset(experiment.results(p, store).groups) for p in PROFILES for store in stores}
    assert len(keys) == 1 and all(keys)


@each
@pytest.mark.parametrize("profile", ["smoke", "quick"])
def test_small_profiles_need_no_download(experiment: ModuleType, profile: str, smoke: Smoke) -> None:
    planned = plan(experiment, profile, everything(smoke(experiment)))
    assert {run.spec.task.dataset for run in planned} <= {"mnist5k", "mnist5k_rgb32"}


@each
@pytest.mark.parametrize("profile", PROFILES)
def test_every_method_gets_as_many_draws_on_the_same_seeds_and_is_reported_on_others(
    experiment: ModuleType, profile: str, smoke: Smoke
) -> None:
    planned = plan(experiment, profile, everything(smoke(experiment)))
    searches: dict[str, dict[object, dict[object, set[int]]]] = {}
    for run in planned:
        if "tuning" in run.role:
            trials = searches.setdefault(run.role, {}).setdefault(searched(run.spec), {})
            trials.setdefault(run.spec.settings, set()).add(run.spec.seed)
    for role, methods in searches.items():
        assert len({len(trials) for trials in methods.values()}) == 1, role
        (seeds,) = {tuple(sorted(seeds)) for trials in methods.values() for seeds in trials.values()}
        reported = {run.spec.seed for run in planned if run.role == role.replace("tuning", "report")}
        assert not reported & set(seeds), "settings must be reported on other seeds"


def searched(spec: RunSpec) -> object:
    """What is given its own draws: a method on a task, also by settings that are words and not numbers."""
    words = tuple(pair for pair in spec.settings if isinstance(pair[1], str))
    return spec.function, spec.method, spec.optimizer, spec.optimizer_settings, spec.task, words


# What its canary tries.

DECAY_WITH_MOMENTUM_ALONE = {("options", "sgd", "weight_decay"), ("options", "adam", "weight_decay")}
GAPS: dict[str, set[object] | None] = {
    "02_is_the_hypergradient_right": None,  # optimizers, networks and methods meet in few of its small runs
    "03_quadratic_fit": DECAY_WITH_MOMENTUM_ALONE,
    "04_superbatch": DECAY_WITH_MOMENTUM_ALONE,
}
"""Kinds of run that records have and the canary lacks; None: many. An entry without a gap has to go."""


def kinds(specs: Iterable[RunSpec]) -> set[object]:
    """What runs differ in beyond numbers."""
    found: set[object] = set()
    for spec in specs:
        names, off = [n for n, _ in spec.settings], [n for n, value in spec.settings if value is False]
        found |= {
            ("run", spec.function, spec.method, spec.optimizer, *names, "off", *off, bool(spec.source)),
            ("options", spec.optimizer, *(n for n, _ in spec.optimizer_settings)),
            ("network", spec.task.model, spec.task.activation),
        }
    return found


@each
def test_the_canary_has_every_kind_of_run(experiment: ModuleType, smoke: Smoke) -> None:
    store = everything(smoke(experiment))
    planned = {run.spec for profile in ("desk", "paper") for run in plan(experiment, profile, store)}
    lacking = kinds(planned) - kinds(part(experiment, "canary").runs().values())
    known = GAPS.get(experiment.NAME, set())
    assert known is None or lacking <= known
    assert bool(lacking) == (experiment.NAME in GAPS)


# What it refuses.


@each
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda record: {"status": "stopped by budget"}, "is stopped by budget"),
        (lambda record: {"metrics": dict.fromkeys(record.metrics, math.nan)}, "is nan"),
    ],
    ids=["stopped", "nan"],
)
def test_a_wrong_record_is_refused(
    experiment: ModuleType, change: Callable[[Record], dict[str, Any]], words: str, smoke: Smoke
) -> None:
    results = smoke(experiment)
    record = next((r for r in results.all_records() if r.metrics), results.all_records()[0])
    wrong = dataclasses.replace(record, **change(record))
    if words == "is nan" and not record.metrics:
        pytest.skip("its runs have series alone")
    store = Changed(results.store, {record.spec.hash: wrong})
    with pytest.raises(InvariantError, match=words):
        part(experiment, "invariants").check(experiment.results("smoke", store))


# What its page shows.


@dataclasses.dataclass(frozen=True)
class Shown:
    """A call of `al.notebook` that shows something."""

    experiment: ModuleType
    how: str
    """show, picture or table."""
    what: str
    """The expression of its first argument."""
    records: str = "[]"
    """That of the records of a figure."""
    alt: str = ""

    def __str__(self) -> str:
        return f"{self.experiment.NAME[:2]} {self.what}"


def statements(experiment: ModuleType) -> Iterator[ast.stmt]:
    """The code of a notebook after its parameters."""
    cells = json.loads((NOTEBOOKS / f"{experiment.NAME}.ipynb").read_text(encoding="utf-8"))["cells"]
    for cell in cells:
        if cell["cell_type"] == "code" and "parameters" not in cell["metadata"].get("tags", []):
            yield from ast.parse("".join(cell["source"])).body


def shown(experiment: ModuleType) -> Iterator[Shown]:
    for statement in statements(experiment):
        for call in ast.walk(statement):
            if isinstance(call, ast.Call) and (how := called(call)) in ("show", "picture", "table"):
                what, *others = map(ast.unparse, call.args)
                alt = next((ast.literal_eval(k.value) for k in call.keywords if k.arg == "alt"), "")
                yield Shown(experiment, how, what, *others, alt=alt)


def called(call: ast.Call) -> str:
    """The name of a function of `al.notebook`; empty of others."""
    prefix, _, name = ast.unparse(call.func).rpartition(".")
    return name if prefix == "al.notebook" else ""


SHOWN = [one for experiment in EXPERIMENTS.values() for one in shown(experiment)]
TABLES = [one for one in SHOWN if one.how == "table"]
FIGURES = [one for one in SHOWN if one.how != "table"]


class Pages:
    """The notebooks up to what they show, with their results from different records."""

    def __init__(self, smoke: Smoke) -> None:
        self._smoke = smoke
        self._held: dict[tuple[str, str], dict[str, Any]] = {}

    def value(self, one: Shown, records: str, expression: str = "") -> Any:
        """An expression of a notebook; by default what is shown."""
        key = one.experiment.NAME, records
        if key not in self._held:
            self._held[key] = self.opened(one.experiment, records)
        return eval(expression or one.what, self._held[key])

    def text(self, one: Shown, records: str) -> str:
        """The Markdown of a table."""
        found: str = notebook.table(self.value(one, records)).data
        return found

    def opened(self, experiment: ModuleType, records: str) -> dict[str, Any]:
        """What a notebook imports and assigns, around its results."""
        results = self._smoke(experiment)
        store = {"all": results.store, "none": Empty(), "diverged": diverged(results)}[records]
        page = {"results": experiment.results("smoke", store)}
        for statement in statements(experiment):
            imports = isinstance(statement, ast.Import | ast.ImportFrom)
            assigns = isinstance(statement, ast.Assign) and "load(" not in ast.unparse(statement)
            if imports or (assigns and "invariants" not in ast.unparse(statement)):
                exec(ast.unparse(statement), page)
        return page


def diverged(results: Any) -> Changed:
    """The records of smoke, where the first run for each purpose of each method diverged at its last step."""
    lost: dict[object, Record] = {}
    for run in results.planned:
        record = results.store.get(run.spec)
        kind = run.role, run.spec.function, run.spec.method
        if record.finished and run.spec.function not in NEVER_DIVERGE:
            status = f"diverged at step {run.spec.steps}"
            lost.setdefault(kind, dataclasses.replace(record, status=status, metrics={}))
    return Changed(results.store, {record.spec.hash: record for record in lost.values()})


NEVER_DIVERGE = ("hypergradient_error", "locality", "lr_range")
"""Run functions that measure something and end, whatever the loss does."""


@pytest.fixture(scope="module")
def pages(smoke: Smoke) -> Pages:
    return Pages(smoke)


@each
def test_the_notebook_loads_its_own_experiment_and_checks_the_invariants(experiment: ModuleType) -> None:
    calls = [n for s in statements(experiment) for n in ast.walk(s) if isinstance(n, ast.Call)]
    (loaded,) = (ast.literal_eval(call.args[0]) for call in calls if called(call) == "load")
    assert find(loaded) is experiment
    assert "invariants.check(results)" in map(ast.unparse, calls)
    assert {one.how for one in SHOWN if one.experiment is experiment} >= {"show", "table"}


@pytest.mark.parametrize("one", TABLES, ids=str)
@pytest.mark.parametrize("records", ["all", "diverged"])
def test_a_table_is_a_function_of_the_records(one: Shown, records: str, pages: Pages, smoke: Smoke) -> None:
    text = pages.text(one, records)
    assert text and not re.search(r"\b(nan|None|inf)\b", text)
    if records == "all":
        assert text == Pages(smoke).text(one, records), "another reading, another text"


@pytest.mark.parametrize("one", TABLES, ids=str)
def test_without_records_a_table_has_no_numbers_of_its_own(one: Shown, pages: Pages) -> None:
    """It says that there are none; what it can say nevertheless it says with records too."""
    text, with_records = pages.text(one, "none"), pages.text(one, "all")
    numbers = [set(re.findall(r"\d[\d.,]*", part)) for part in (text, with_records)]
    assert SAYS_SO.search(text) or numbers[0] <= numbers[1], numbers[0] - numbers[1]


@pytest.mark.parametrize("one", FIGURES, ids=str)
def test_a_figure_shows_something_with_labels(one: Shown, pages: Pages) -> None:
    figure, held = pages.value(one, "all"), list(pages.value(one, "all", one.records))
    assert len(one.alt) > 20, "for those who cannot see it"
    panels = [panel for panel in figure.axes if panel.axison]
    assert panels or not held
    for panel in panels:
        assert panel.lines or panel.collections or panel.patches or panel.images
        assert labelled(panel), panel.get_title()


def labelled(panel: Axes) -> bool:
    """Whether its axes say what they are: by a label or words at the ticks, once in a column and in a row."""
    told = {"x": False, "y": False}
    for which in told:
        span = f"interval{which}"  # of positions: equal in a column, or in a row
        place = getattr(panel.get_position(original=True), span)
        for other in panel.figure.axes:
            if (getattr(other.get_position(original=True), span) == place).all():
                ticks = [tick.get_text() for tick in getattr(other, f"get_{which}ticklabels")()]
                words = [text for text in ticks if re.search("[A-Za-z]{2}", text) and "$" not in text]
                told[which] |= bool(getattr(other, f"get_{which}label")() or words)
    return all(told.values()) or (panel.get_label() == "<colorbar>" and any(told.values()))


@pytest.mark.parametrize("one", FIGURES, ids=str)
def test_a_figure_is_drawn_without_records_and_where_runs_diverged(one: Shown, pages: Pages) -> None:
    for records in ("none", "diverged"):
        pages.value(one, records).canvas.draw()
    assert not list(pages.value(one, "none", one.records))


@each
def test_a_page_with_its_plan_builds_each_run_once(
    experiment: ModuleType, smoke: Smoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs that are planned, read and judged: three specs for each would already be much."""
    built = []
    check = RunSpec.__post_init__
    monkeypatch.setattr(RunSpec, "__post_init__", lambda spec: (built.append(spec), check(spec)))
    page = Pages(smoke)
    for one in SHOWN:
        if one.experiment is experiment:
            page.text(one, "all") if one.how == "table" else page.value(one, "all")
    few = len(built) <= 3 * len(smoke(experiment).all_records())
    assert few or experiment.NAME in WITHOUT_GROUPS, f"{len(built)} specs"


# What it judges.


@each
def test_its_judges_are_of_registered_claims(experiment: ModuleType) -> None:
    registered = {claim.id for claim in claims.load()}
    own = judges_of(experiment).keys()
    assert own <= registered
    for other in EXPERIMENTS.values():
        assert other is experiment or not own & judges_of(other).keys(), "one test gives one verdict"


@each
def test_without_records_nothing_is_judged_and_smoke_is_no_result(
    experiment: ModuleType, smoke: Smoke
) -> None:
    registered = {claim.id: claim for claim in claims.load()}
    nothing = experiment.results("desk", Empty())
    for name, judge in judges_of(experiment).items():
        verdict = judge(registered[name], nothing)
        assert verdict.outcome == NOT_RUN
        assert not (verdict.profile or verdict.runs or verdict.statistic or verdict.for_book)
        tried = judge(registered[name], smoke(experiment))
        assert tried.outcome in (NOT_RUN, NOT_AT_SCALE, UNDECIDED) and not tried.for_book
