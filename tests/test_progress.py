"""What executions know of durations, and how they show their progress."""

from __future__ import annotations

import io
import time
from itertools import pairwise
from pathlib import Path

import fake_runs
import pytest
from fake_runs import run

from adatune_lite.runs import execute as execution
from adatune_lite.runs.durations import Durations
from adatune_lite.runs.progress import PLAIN_EVERY, State, console, duration
from adatune_lite.runs.record import Record
from adatune_lite.runs.store import Store
from adatune_lite.training.outcome import Outcome
from adatune_lite.training.spec import RunSpec

pytestmark = pytest.mark.usefixtures("fakes")


@pytest.fixture
def store(checkout: Path) -> Store:
    return Store(checkout / "data" / "runs")


class TestDurations:
    def record(self, steps: int, seconds: float, outer: int = 1, status: str = "finished") -> Record:
        spec = RunSpec("lrs_opt", fake_runs.TASK, "lrs_opt", steps, 0, (("outer_steps", outer),))
        return Record.of(spec, Outcome(status, {}, {}, {"seconds": seconds}), code="c", device="cpu")

    def test_work_scales(self) -> None:
        known = Durations([self.record(10, 2.0), self.record(10, 2.0), self.record(10, 50.0)])
        assert known.estimate(self.record(20, 0.0, outer=3).spec) == pytest.approx(12.0)
        assert known.total([self.record(10, 0).spec] * 3) == pytest.approx(6.0)

    def test_nothing_is_guessed(self) -> None:
        assert Durations().estimate(run(0).spec) is None
        short = Durations([self.record(10, 0.1, status="diverged at step 2")])
        assert short.estimate(self.record(10, 0).spec) is None
        assert Durations([self.record(10, 2.0)]).total([run(0).spec]) is None
        assert Durations([self.record(10, 2.0)], device="cuda").estimate(self.record(10, 0).spec) is None


class TestProgress:
    def test_plain_lines_are_rare_and_end_with_the_sum(self, monkeypatch: pytest.MonkeyPatch) -> None:
        now, out = [0.0], io.StringIO()
        monkeypatch.setattr(time, "monotonic", lambda: now[0])
        show = console(out)
        for second in range(25):
            now[0] = float(second)
            show(State(second / 10, 4, 0, 60.0, False))
        show(State(4, 4, 1, 0.0, True))
        lines = out.getvalue().splitlines()
        assert len(lines) == 25 // PLAIN_EVERY + 1
        assert lines[0] == "runs 1.0 of 4 in 10 s, time left 60 s"
        assert lines[-1] == "runs 4.0 of 4 in 24 s, 1 failed"

    def test_terminal_gets_a_bar(self) -> None:
        pytest.importorskip("tqdm")

        class Terminal(io.StringIO):
            def isatty(self) -> bool:
                return True

        out = Terminal()
        show = console(out)
        show(State(0.5, 4, 0, 7200.0, False))
        show(State(4, 4, 0, None, True))
        assert "0.5 of 4" in out.getvalue() and "time left 2.0 h" in out.getvalue()

    @pytest.mark.slow
    def test_execution_reports(self, store: Store) -> None:
        for jobs in (1, 2):
            states: list[State] = []
            execution.execute(
                [run(s) for s in range(2)],
                Store(f"jobs{jobs}"),
                jobs=jobs,
                progress=states.append,
            )
            assert states[-1][:3] == (2, 2, 0) and states[-1].last
            assert all(a.done <= b.done for a, b in pairwise(states))
            assert jobs == 2 or any(0 < state.done < 1 for state in states), "from within a run"

    def test_durations_read_as_one_says_them(self) -> None:
        assert [duration(s) for s in (None, 45, 720, 11520)] == ["unknown", "45 s", "12 min", "3.2 h"]
