"""Records of one run on two copies of its data: which of them `run` makes again, and which a page shows."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import ClassVar

import fake_runs
import pytest

from adatune_lite import notebook
from adatune_lite.claims.scorecard import _results
from adatune_lite.cli import inspect
from adatune_lite.report.groups import Group, Page, Role, Search
from adatune_lite.runs import execute as execution
from adatune_lite.runs import provenance, state
from adatune_lite.runs.durations import Durations
from adatune_lite.runs.freshness import WithStale
from adatune_lite.runs.one_data import AtHand
from adatune_lite.runs.progress import quiet
from adatune_lite.runs.record import Record
from adatune_lite.runs.store import Store
from adatune_lite.tasks import sources
from adatune_lite.tasks.spec import TaskSpec, pairs
from adatune_lite.training.outcome import Outcome
from adatune_lite.training.spec import RunSpec

pytestmark = pytest.mark.usefixtures("fakes")

COPY, PUBLISHED, OTHER = "all:copy", "all:published", "all:other"
SMALL = dataclasses.replace(fake_runs.TASK, hidden=(7,))
RATES, TUNING, SEEDS = (0.1, 0.2), (100, 101), (0, 1, 2)


def spec(lr: float, seed: int, task: TaskSpec = fake_runs.TASK) -> RunSpec:
    return RunSpec("noise", task, "noise", 8, seed, pairs({"lr": lr}))


def report(lr: float) -> list[RunSpec]:
    return [spec(lr, seed) for seed in SEEDS]


TUNE, REPORT, OTHERS = (Role(name, 0) for name in ("tuning", "report", "small"))


class Results(Page[int]):
    """A search of two rates, the better one on other seeds, and one run of another task."""

    name = "99_fake"
    profiles: ClassVar = {"desk": 1, "paper": 2}

    @staticmethod
    def declare(scale: int, page: Page[int]) -> Iterator[Group]:
        trials = [[spec(lr, seed) for seed in TUNING] for lr in RATES]
        yield Search(("tuning",), "a search", TUNE, trials=trials)
        best = page.choice("tuning")
        yield Group(("report",), "the best", REPORT, report(float(dict(best.settings)["lr"])) if best else ())
        yield Group(("small",), "another task", OTHERS, [spec(0.1, 0, SMALL)])


plan = Results.plan
EXPERIMENT = types.ModuleType("experiment")
vars(EXPERIMENT).update(NAME="99_fake", PROFILES=Results.profiles, plan=plan, results=Results)


def record(made: RunSpec, loss: float, data: str = COPY, **changes: str) -> Record:
    outcome = Outcome(
        "finished", {"lr": [0.1] * 8}, {"validation_loss": loss, "loss": loss}, {"seconds": 1.0}
    )
    facts = {"data_checksum": data, "data_verified": data == PUBLISHED, "data_source": data}
    code = changes.pop("code", provenance.code_hash(provenance.Kind.of(made)))
    return Record.of(made, outcome, code=code, device="cpu", provenance=facts | changes)


def put(store: Store, specs: Iterable[RunSpec], loss: float, data: str = COPY, **changes: str) -> None:
    for one in specs:
        store.put(record(one, loss, data, **changes))


def searched(store: Store, best: float, data: str = COPY) -> None:
    """All tuning runs, and those of the other task, on one copy of the data."""
    for lr in RATES:
        put(store, [spec(lr, seed) for seed in TUNING], 0.1 if lr == best else 0.2, data)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Everything on a copy with loss; 0.1 is the better rate there."""
    made = Store(tmp_path)
    searched(made, best=0.1)
    put(made, [*report(0.1), spec(0.1, 0, SMALL)], 1.0)
    return made


def shown(store: Store) -> Results:
    return Results("desk", WithStale(store))


def of(page: Page[int], specs: Iterable[RunSpec]) -> list[Record]:
    """Records by spec, those that no group of the page wants among them."""
    return [found for one in specs if (found := page.record(one)) is not None]


def counted(monkeypatch: pytest.MonkeyPatch) -> list[Page[int]]:
    """Grows by one whenever the groups are declared."""
    declared: list[Page[int]] = []
    declare = Results.declare

    def noted(scale: int, page: Page[int]) -> Iterator[Group]:
        declared.append(page)
        yield from declare(scale, page)

    monkeypatch.setattr(Results, "declare", staticmethod(noted))
    return declared


def data_of(records: Sequence[Record]) -> set[str]:
    return {one.data_checksum for one in records}


class TestPage:
    """A cell, a search and all that is compared: from one copy, changed as a whole or not at all."""

    def test_without_a_choice_to_make_the_store_is_read_as_it_is(self, store: Store) -> None:
        page, empty = shown(store), Results("desk", Store(store.root / "empty"))
        assert len(page["report"]) == 3 and page.data == {}
        assert not empty.all_records() and empty.data == {}

    def test_without_a_choice_to_make_the_plan_is_made_once(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        declared = counted(monkeypatch)
        assert len(shown(store).planned) == 8 and len(declared) == 1
        searched(store, best=0.1, data=PUBLISHED)
        assert len(shown(store).planned) == 8 and len(declared) <= 1 + 3

    def test_no_mean_mixes_two_copies_while_runs_are_made_again(self, store: Store) -> None:
        """Run by run: the page is that of the copy until the last one, then that of the published data."""
        again = [*report(0.1), *(spec(lr, seed) for lr in RATES for seed in TUNING)]
        before = fmean(r.metrics["loss"] for r in of(shown(store), report(0.1)))
        for number, one in enumerate(again):
            loss = 3.0 if one.seed in SEEDS else 0.1 * one.get("lr")  # type: ignore[operator]
            store.put(record(one, loss, PUBLISHED))
            page = shown(store)
            cell = of(page, report(0.1))
            whole = number == len(again) - 1
            assert len(cell) == len(SEEDS) and page.missing() == 0
            assert fmean(r.metrics["loss"] for r in cell) == (3.0 if whole else before)
            assert data_of(of(page, again)) == {PUBLISHED if whole else COPY}
        assert data_of(of(shown(store), [spec(0.1, 0, SMALL)])) == {COPY}, "a task by itself"

    def test_another_choice_brings_no_empty_cells(self, store: Store) -> None:
        """On the published data 0.2 is better: its runs on other seeds are waited for."""
        searched(store, best=0.2, data=PUBLISHED)
        put(store, report(0.1), 3.0, PUBLISHED)
        page = shown(store)
        assert {p.spec for p in page.planned if p.role == "report"} == set(report(0.1))
        assert page.missing() == 0 and data_of(of(page, report(0.1))) == {COPY}
        put(store, report(0.2), 3.0, PUBLISHED)
        page = shown(store)
        assert {p.spec for p in page.planned if p.role == "report"} == set(report(0.2))
        assert page.missing() == 0 and data_of(of(page, report(0.2))) == {PUBLISHED}

    def test_new_runs_on_published_data_wait_for_those_they_are_compared_with(self, store: Store) -> None:
        store.put(record(spec(0.3, 0), 9.0, PUBLISHED))

        class More(Results):
            @staticmethod
            def declare(scale: int, page: Page[int]) -> Iterator[Group]:
                yield from Results.declare(scale, page)
                yield Group(("new",), "new", OTHERS, [spec(0.3, 0)])

        assert not More("desk", store)["new"]
        put(store, report(0.1)[1:], 3.0, PUBLISHED)
        searched(store, best=0.1, data=PUBLISHED)
        assert not More("desk", store)["new"], "one for one is a gap as well"
        put(store, report(0.1)[:1], 3.0, PUBLISHED)
        (found,) = More("desk", store)["new"]
        assert found.verified

    def test_of_two_copies_the_one_with_most_records(self, store: Store) -> None:
        put(store, report(0.1), 5.0, OTHER, start="2027")
        assert data_of(of(shown(store), report(0.1))) == {COPY}

    def test_published_data_stay_when_somebody_adds_runs_on_a_copy(self, tmp_path: Path) -> None:
        store = Store(tmp_path)
        searched(store, best=0.1, data=PUBLISHED)
        put(store, report(0.1)[:2], 1.0, PUBLISHED)
        put(store, report(0.1)[:1], 1.0, COPY)
        assert data_of(of(shown(store), report(0.1))) == {PUBLISHED}

    def test_a_record_that_does_not_say_its_data_is_read(self, tmp_path: Path) -> None:
        store = Store(tmp_path)
        nameless = dataclasses.replace(record(spec(0.1, 0), 1.0), provenance={})
        store.put(nameless)
        assert of(shown(store), [spec(0.1, 0)]) == [nameless]
        store.put(record(spec(0.1, 0), 2.0, PUBLISHED))
        assert data_of(of(shown(store), [spec(0.1, 0)])) == {PUBLISHED}

    def test_stale_runs_on_published_data_are_shown_where_there_is_no_other(self, store: Store) -> None:
        put(store, [spec(0.1, 0, SMALL)], 2.0, PUBLISHED, code="0" * 64)
        assert data_of(of(shown(store), [spec(0.1, 0, SMALL)])) == {PUBLISHED}
        assert data_of(Results("desk", store)["small"]) == {COPY}, "a reader of what is not stale"

    def test_pages_state_and_scorecard_read_so(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        searched(store, best=0.2, data=PUBLISHED)
        put(store, report(0.1)[:1], 3.0, PUBLISHED)
        monkeypatch.setattr("adatune_lite.experiments.find", lambda name: EXPERIMENT)
        monkeypatch.setattr("adatune_lite.runs.store.stores_for", lambda profile, out=None: store)
        monkeypatch.setattr(execution, "complete", lambda *_, **__: execution.Summary())
        assert notebook.best_profile("99") == "paper", "all that is planned is there"
        for results in (
            notebook.load("99", "desk", missing="skip"),
            notebook.load("99", "desk"),
            _results(EXPERIMENT, "desk"),
        ):
            assert data_of(of(results, report(0.1))) == {COPY} and results.missing() == 0

        def text(results: Page[int]) -> str:
            return str(data_of(of(results, report(0.1))))

        assert str({COPY}) in notebook._committed(EXPERIMENT, text)
        profile, _ = state.read([EXPERIMENT], lambda name: store)
        assert not profile.missing and {p.spec for p in profile.planned} >= set(report(0.1))


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The published data are at hand; the list says how often that was asked."""
    asked: list[str] = []

    def at_hand(dataset: str) -> bool:
        asked.append(dataset)
        return True

    monkeypatch.setattr(sources, "verified_at_hand", at_hand)
    return asked


class TestRun:
    """`run`, and it alone, counts what the published data at hand have no record of as missing."""

    def test_runs_on_a_copy_are_missing_where_published_data_are_at_hand(
        self, store: Store, published: list[str]
    ) -> None:
        planned = plan("desk", store)
        assert len(planned) == 8 and not execution.missing(planned, store)
        present = AtHand(store)
        assert execution.missing(planned, present) == planned
        assert {p.role for p in plan("desk", present)} == {"tuning", "small"}, (
            "a later stage needs its search"
        )
        put(store, [planned[0].spec], 1.0, PUBLISHED)
        assert execution.missing(planned, AtHand(store)) == planned[1:]
        assert published == ["mnist5k"] * 2, "asked once each time"

    def test_pages_and_status_count_none_and_load_no_data(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def load(*_: object, **__: object) -> None:
            raise AssertionError("data were loaded")

        monkeypatch.setattr(sources, "load_images", load)
        searched(store, best=0.2, data=PUBLISHED)
        assert shown(store).missing() == 0
        account = inspect._account(EXPERIMENT, "desk", store, Durations(store.records()))
        assert account[:2] == (8, 0)

    @pytest.mark.parametrize("there", [False, True])
    def test_other_data_at_hand_make_nothing_missing(
        self, store: Store, monkeypatch: pytest.MonkeyPatch, there: bool
    ) -> None:
        """They are a copy themselves, or not there at all; what has no record is missing as always."""

        def load(dataset: str, part: str, download: bool = True) -> object:
            assert not download
            if there:
                return types.SimpleNamespace(verified=False)
            raise sources.DataMissing("nowhere")

        monkeypatch.setattr(sources, "load_images", load)
        planned = plan("desk", store)
        assert not execution.missing(planned, AtHand(store))
        next(store.paths()).unlink()
        assert len(execution.missing(planned, AtHand(store))) == 1

    def test_damaged_data_are_said(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        def load(*_: object, **__: object) -> object:
            raise sources.DataError("train.parquet cannot be read")

        monkeypatch.setattr(sources, "load_images", load)
        with pytest.raises(sources.DataError, match="cannot be read"):
            execution.complete(EXPERIMENT, "desk", store, progress=quiet)

    def test_records_on_published_data_need_no_data(self, store: Store, published: list[str]) -> None:
        searched(store, best=0.1, data=PUBLISHED)
        put(store, [*report(0.1), spec(0.1, 0, SMALL)], 2.0, PUBLISHED)
        summary = execution.complete(EXPERIMENT, "desk", store, progress=quiet)
        assert (summary.done, summary.left) == (0, 0) and not published

    def test_complete_makes_them_beside_the_others(self, checkout: Path) -> None:
        """Really run, on the embedded digits: a second record of each, and then nothing is missing."""
        store = Store(checkout / "data" / "runs")
        planned = fake_runs.plan("smoke", store)
        put(store, [p.spec for p in planned], 1.0)
        first = {path: path.read_bytes() for path in store.paths()}
        made = partial(execution.complete, progress=quiet)
        summary = made(fake_runs, "smoke", store)
        assert (summary.done, summary.left, summary.failed) == (3, 0, [])
        assert made(fake_runs, "smoke", store).done == 0
        held = list(store.paths())
        assert len(held) == 5 and {path: path.read_bytes() for path in first} == first
        for one in planned:
            found = store.get(one.spec)
            assert found is not None and found.verified and found.longer_name in {p.stem for p in held}
        assert not list(store.verify())


def test_a_page_that_is_told_its_data_takes_no_other(store: Store) -> None:
    page = Results("desk", store, {fake_runs.TASK: OTHER})
    assert not page["tuning"] and page["small"], "a task without data named is left alone"


def test_a_checkpoint_on_other_data_is_not_taken_up(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that counts to three, one step a call; in between it is called on other pixels."""
    store, execute = (
        Store(checkout / "data" / "runs"),
        partial(execution.execute, progress=quiet),
    )
    planned, original = fake_runs.run(0, method="resume"), provenance.data

    def copy(dataset: str) -> dict[str, object]:
        return original(dataset) | {"data_checksum": "all:other", "data_verified": False}

    folder = checkout / "data/scratch/checkpoints"
    execute([planned], store)
    (under_way,) = folder.glob("*.pt")
    with monkeypatch.context() as patch:
        patch.setattr(provenance, "data", copy)
        execute([planned], store)
        assert len(list(folder.glob("*.pt"))) == 2, "a checkpoint of its own"
        for _ in range(2):
            execute([planned], store)
    (record,) = store.records()
    assert record.data_checksum == "all:other" and list(folder.glob("*.pt")) == [under_way]
    for _ in range(2):
        execute([planned], store)
    assert len(list(store.records())) == 2 and not list(folder.glob("*.pt"))
    assert not list(store.verify())
