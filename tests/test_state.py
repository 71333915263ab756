"""The page on the state of every run, the table of times, and the time left of what is under way."""

from __future__ import annotations

from pathlib import Path

import fake_runs
import pytest
from fake_runs import run

from adatune_lite.experiments import find
from adatune_lite.runs import freshness, provenance, state
from adatune_lite.runs.durations import Durations
from adatune_lite.runs.freshness import Canary, Part
from adatune_lite.runs.record import Record
from adatune_lite.runs.store import Store
from adatune_lite.tasks.spec import TaskSpec
from adatune_lite.training.outcome import Outcome
from adatune_lite.training.spec import RunSpec

pytestmark = pytest.mark.usefixtures("fakes")

MACHINE = {
    "device_name": "A | B processor",
    "torch": "2.0",
    "commit": "0123456789abcdef",
    "dirty": True,
    "data_source": "digits.npz",
    "data_verified": True,
    "start": "2026-01-01T10:00:00+00:00",
    "peak_memory": 1_500_000_000,
}


def put(
    store: Store, spec: RunSpec, code: str | None = None, status: str = "finished", **facts: object
) -> None:
    """A record of two hours."""
    outcome = Outcome(status, {"lr": [0.1] * spec.steps}, {"loss": 1.0 + spec.seed}, {"seconds": 7200.0})
    made = code or provenance.code_hash(spec.function)
    store.put(
        Record.of(
            spec,
            outcome,
            code=made,
            device="cpu",
            labels={"experiment": fake_runs.NAME},
            provenance={**MACHINE, **facts},
        )
    )


def row(text: str, first: str) -> list[str]:
    """The cells of the table row that begins with `first`."""
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {first} ")]
    return [cell.strip() for cell in line.strip("|").split("|")]


@pytest.fixture
def store(checkout: Path) -> Store:
    return Store(checkout / "data" / "runs")


def read(store: Store) -> list[state.Profile]:
    return state.read([fake_runs], lambda profile: store)  # type: ignore[list-item]


class TestState:
    def test_what_is_done_missing_and_stale_by_role(self, store: Store) -> None:
        put(store, run(0).spec)
        put(store, run(1).spec, code="0" * 64, start="2026-02-03T11:30:00+00:00")
        text = state.state_markdown(read(store))
        assert text.startswith("## 99_fake\n\n### desk\n\n2 of the 3 runs known so far are done, 0 of them")
        assert 'badge-profile stale">1 stale<' in text and 'badge-profile none">1 missing<' in text
        counts = ["tuning", "3", "2", "0", "1", "1", "4.00", "2.0 h", "2026-01-01 10:00 to 2026-02-03 11:30"]
        assert row(text, "tuning") == counts
        assert "### smoke" not in text, "its records are not kept"

    def test_what_depends_on_a_stale_record_is_known(self, store: Store) -> None:
        for seed in range(3):
            put(store, run(seed).spec, code="0" * 64)
        text = state.state_markdown(read(store))
        assert row(text, "report")[1:6] == ["1", "0", "0", "0", "1"]

    def test_a_canary_clears_the_mark(self, store: Store) -> None:
        put(store, run(0).spec, code="0" * 64)
        assert "badge-profile stale" in state.state_markdown(read(store))
        codes = ("0" * 64, provenance.code_hash("noise"))
        freshness.write(Canary(fake_runs.NAME, {"noise": Part(codes, "2.0", {})}))
        assert "badge-profile stale" not in state.state_markdown(read(store))

    def test_where_it_was_made(self, store: Store) -> None:
        put(store, run(0).spec)
        put(store, run(1).spec, status="diverged at step 3")
        put(
            store,
            run(2).spec,
            torch="2.1",
            dirty=False,
            data_verified=False,
            start="2026-01-01T11:00:00+00:00",
        )
        text = state.state_markdown(read(store))
        assert "1 of them diverged" in text
        assert row(text, "tuning")[-1] == "2026-01-01 10:00 to 11:00"
        machine = "A / B processor (cpu, float32)"
        lines = [line.strip("|").split(" | ") for line in text.splitlines() if machine in line]
        assert [line[1:6] for line in lines] == [
            ["2.0", "digits.npz", "0123456789+changes", "2", "4.00"],
            ["2.1", "digits.npz, unverified", "0123456789", "1", "2.00"],
        ]

    def test_nothing_yet(self, store: Store) -> None:
        text = state.state_markdown(read(store))
        assert "0 of the 3 runs known so far are done" in text and 'none">3 missing<' in text
        assert row(text, "tuning")[5:] == ["3", "", "", ""]
        assert state.state_markdown([]) == "There are no experiments yet."


class TestTimes:
    def test_missing_runs_take_as_long_as_their_like(self, store: Store) -> None:
        put(store, run(0).spec)
        text = state.times_markdown(read(store))
        smoke, desk = ([c.strip() for c in line.strip("|").split("|")] for line in text.splitlines()[2:])
        assert smoke == ["99_fake", "smoke", "2", "4.0 h", "2.0 h", "2.0 h", "1.5 GB (cpu)"]
        assert desk[1:5] == ["desk", "3", "6.0 h", "2.0 h"]

    def test_unlike_runs_are_not_guessed(self, store: Store) -> None:
        for seed in range(2):
            put(store, run(seed).spec)
        text = state.times_markdown(read(store))
        # In smoke both searches are there; the replay that follows is like nothing before.
        assert "| 99_fake | smoke | 3 | at least 4.0 h |" in text

    def test_without_records_nothing_is_known(self, store: Store) -> None:
        assert "| 99_fake | smoke | 2 | not known before it is run |" in state.times_markdown(read(store))


class TestTimeLeft:
    """A display knows the time left once one run has ended; what may refuse a run asks for its like."""

    TASK = TaskSpec("mnist5k", train=4000, validation=500, test=500, hidden=(16, 16))

    def spec(self, method: str, **settings: float) -> RunSpec:
        function = "lrs_opt" if method == "lrs_opt" else "training"
        return RunSpec(function, self.TASK, method, 10, 0, tuple(settings.items()))

    def test_one_run_is_enough_for_a_whole_experiment(self, store: Store) -> None:
        planned = [each.spec for each in find("01").plan("smoke", store)]
        known = Durations()
        assert known.total(planned) is None
        first = planned[0]
        known.learn(first, 1.0)
        total = known.total(planned)
        assert total is not None and total > len(planned)
        offline = next(spec for spec in planned if spec.function == "lrs_opt")
        assert known.estimate(offline) is None, "no run is refused for a guess"

    @pytest.mark.parametrize(
        ("method", "settings", "steps"),
        [
            ("constant", {}, 10),
            ("hd", {}, 10),
            ("hd_validation", {}, 60),  # 500 outer images beside 100 of training, at each of 10 steps
            ("rtho", {}, 80),  # a product besides
            ("lrs_opt", {"outer_steps": 3}, 120),
        ],
    )
    def test_it_is_proportional_to_plain_steps(
        self, method: str, settings: dict[str, float], steps: int
    ) -> None:
        known = Durations()
        known.learn(self.spec("constant"), 10.0)
        assert known.guess(self.spec(method, **settings)) == pytest.approx(steps)

    def test_the_outer_batch_counts(self) -> None:
        known = Durations()
        known.learn(self.spec("marthe", mu=0.9), 8.0)
        assert known.estimate(self.spec("marthe", mu=0.9, outer_batch=100)) == pytest.approx(4.0)

    def test_its_like_is_preferred(self) -> None:
        known = Durations()
        known.learn(self.spec("constant"), 10.0)
        known.learn(self.spec("lrs_opt", outer_steps=3), 7.0)
        assert known.guess(self.spec("lrs_opt", outer_steps=6)) == pytest.approx(14.0)
