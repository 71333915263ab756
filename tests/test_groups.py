"""Groups: declared once, planned and read from there, refused by name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from small_page import REPORT, SEEDS, Made, Small, runs

from adatune_lite.report.groups import Group, GroupError, Page
from adatune_lite.training.spec import RunSpec


def lr(spec: RunSpec) -> float:
    return float(spec.get("lr"))


@pytest.fixture
def full() -> Small:
    """E falls with the rate, so that the second search has the best draw."""
    return Small("desk", Made(lambda spec: 1 - lr(spec)))


def test_the_plan_follows_in_the_order_of_the_groups(full: Small) -> None:
    assert [(p.role, p.priority, lr(p.spec)) for p in full.planned if p.spec.seed in (0, 100)] == [
        *(("report", 5, 0.01), ("report", 5, 0.02), ("report", 5, 0.03)),
        *(("tuning", 10, 0.1), ("tuning", 10, 0.2), ("tuning", 10, 0.3)),
        ("report", 5, 0.3),
    ]
    assert [p.priority for p in full.planned[:5]] == [5, 4, 3, 2, 1]
    assert {(p.experiment, p.profile) for p in full.planned} == {("small", "desk")}
    assert [p.spec.hash for p in Small.plan("desk", full.store)] == [p.spec.hash for p in full.planned]


def test_a_run_that_two_groups_want_is_planned_for_the_first() -> None:
    class Twice(Small):
        @staticmethod
        def declare(scale: Any, page: Any) -> Iterator[Group]:
            yield from Small.declare(scale, page)
            yield Group(("again",), "again", REPORT, page.groups["search", "first"].specs)

    page = Twice("desk", Made(lambda spec: None))
    assert len({p.spec.hash for p in page.planned}) == len(page.planned)
    assert [p.role for p in page.planned if p.spec.seed == 100] == ["tuning"] * 3


def test_what_waits_for_a_choice_has_no_runs_yet() -> None:
    page = Small("desk", Made(lambda spec: None if lr(spec) == 0.3 and spec.seed == 101 else 1.0))
    assert page.choice("search") is None and page.choice("search", "first") is not None
    assert page.groups["best",].specs == () and page["best"] == []
    assert page.missing_roles() == {"tuning": 1} and page.missing() == 1


def test_the_best_of_several_searches_is_that_of_all_their_draws(full: Small) -> None:
    first, both = full.choice("search", "first"), full.choice("search")
    assert first is not None and dict(first.settings) == {"lr": 0.2} and first.trials == 2
    assert both is not None and dict(both.settings) == {"lr": 0.3} and both.trials == 3
    assert [lr(r.spec) for r in full["best"]] == [0.3] * 5


def test_records_by_key_and_by_the_beginning_of_one(full: Small) -> None:
    assert [r.spec.seed for r in full["reference"]] == list(SEEDS)
    assert full["rates", 0.02] is full["rates", 0.02], "read once"
    assert [lr(r.spec) for r in full["rates"]] == [0.02] * 5 + [0.03] * 5
    assert list(full.by("rates")) == [0.02, 0.03] and full.by("rates")[0.03] == full["rates", 0.03]
    assert [group.name for group in full.under("rates").values()] == ["rate 0.02", "rate 0.03"]
    assert full.groups["search", "more"].why == "a search"
    assert len(full.all_records()) == len(full.planned) == 26
    assert {r.spec.seed for r in full.all_records("tuning")} == {100, 101}


def test_the_store_is_asked_once_for_each_run(full: Small) -> None:
    assert isinstance(full.store, Made)
    for _ in range(3):
        full.all_records(), full.missing(), full["rates"], full.choice("search"), full.planned
    assert full.store.asked == len(full.planned)


def test_a_page_builds_each_run_once(monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[RunSpec] = []
    check = RunSpec.__post_init__

    def counted(spec: RunSpec) -> None:
        built.append(spec)
        check(spec)

    monkeypatch.setattr(RunSpec, "__post_init__", counted)
    page = Small("desk", Made(lambda spec: 1 - lr(spec)))
    page.all_records(), page.missing(), page.by("rates"), page.planned
    assert len(built) == len(page.planned)


@pytest.mark.parametrize(
    ("key", "said"),
    [
        (("referense",), "small has no group referense; there are: reference, rates, search, best"),
        (("rates", 0.2), "small has no group rates / 0.2; there are of rates: 0.02, 0.03"),
        (("rates", 0.02, "x"), "small has no group rates / 0.02 / x; there are of rates / 0.02: none"),
    ],
)
def test_an_unknown_key_is_refused_with_those_that_there_are(
    full: Small, key: tuple[Any, ...], said: str
) -> None:
    for ask in (lambda: full[key], lambda: full.choice(*key), lambda: full.by(*key)):
        with pytest.raises(GroupError) as error:
            ask()
        assert str(error.value).startswith(said) and "\n" not in str(error.value)


def test_a_group_asks_only_for_those_before_it() -> None:
    class Early(Small):
        @staticmethod
        def declare(scale: Any, page: Any) -> Iterator[Group]:
            yield Group(("one",), "one", REPORT, runs(0.1))
            page["two"]
            yield Group(("two",), "two", REPORT, runs(0.2))

    page = Early("desk", Made(lambda spec: 1.0))
    for _ in range(2):
        with pytest.raises(GroupError, match="no group two; there are: one "):
            page.planned  # noqa: B018


def test_two_groups_of_one_key_are_refused() -> None:
    class Double(Small):
        @staticmethod
        def declare(scale: Any, page: Any) -> Iterator[Group]:
            yield Group(("one", 1), "one", REPORT, runs(0.1))
            yield Group(("one", 1), "other", REPORT, runs(0.2))

    page = Double("desk", Made(lambda spec: 1.0))
    for _ in range(2):
        with pytest.raises(GroupError, match="small declares two groups of the key one / 1"):
            page["one"]


def test_a_page_says_which_experiment_it_is_of() -> None:
    assert issubclass(Small, Page) and Small.plan("smoke", Made(lambda spec: None))[0].profile == "smoke"
