"""Execution: staged, in order, in time, the same digits in any process, and nothing finished is lost."""

from __future__ import annotations

import dataclasses
import math
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import fake_runs
import pytest
import torch
from fake_runs import run

from adatune_lite.checkpoint import Checkpoint
from adatune_lite.runs import execute as execution
from adatune_lite.runs.durations import Durations
from adatune_lite.runs.execute import ExecutionError, Summary, missing
from adatune_lite.runs.progress import quiet
from adatune_lite.runs.record import Record
from adatune_lite.runs.selection import Selection, SelectionError, parse_seeds
from adatune_lite.runs.store import Store, StoreError
from adatune_lite.runs.worker import Setting, perform
from adatune_lite.training.context import Context, SourceMissing
from adatune_lite.training.registry import FUNCTIONS
from adatune_lite.training.spec import RunSpec

execute = partial(execution.execute, progress=quiet)
complete = partial(execution.complete, progress=quiet)
pytestmark = pytest.mark.usefixtures("fakes")


@pytest.fixture
def store(checkout: Path) -> Store:
    return Store(checkout / "data" / "runs")


def outcome(store: Store, spec: RunSpec) -> tuple[object, ...]:
    record = store.get(spec)
    assert record is not None
    return record.content()


def test_stages_follow_each_other(store: Store) -> None:
    summary = complete(fake_runs, "smoke", store)
    assert (summary.done, summary.left, summary.failed) == (3, 0, [])
    records = list(store.records(experiment="99_fake", profile="smoke"))
    assert sorted(r.labels["role"] for r in records) == ["report", "tuning", "tuning"]
    assert not list(store.verify())
    assert complete(fake_runs, "smoke", store).done == 0, "nothing is missing any more"


def test_record_tells_what_it_took(store: Store) -> None:
    execute([run(0)], store)
    record = store.get(run(0).spec)
    assert record is not None
    assert record.cost["plain_steps"] == 8 and record.cost["seconds"] > 0
    assert record.provenance["threads"] == 1
    assert record.provenance["data_verified"] and record.provenance["start"].endswith("+00:00")
    assert record.provenance["peak_memory"] > 1e7


@pytest.mark.slow
def test_one_thread_and_the_same_digits_in_any_process(checkout: Path) -> None:
    """Several runs after one another here, and side by side elsewhere."""
    here, there = Store(checkout / "here"), Store(checkout / "there")
    before, state = torch.get_num_threads(), torch.random.get_rng_state()
    torch.set_num_threads(2)
    try:
        execute([run(seed) for seed in range(3)], here, jobs=1)
        assert torch.get_num_threads() == 2, "as it was"
    finally:
        torch.set_num_threads(before)
    assert torch.equal(torch.random.get_rng_state(), state)
    summary = execute([run(seed) for seed in reversed(range(3))], there, jobs=2)
    assert (summary.done, summary.failed) == (3, [])
    for seed in range(3):
        assert outcome(here, run(seed).spec) == outcome(there, run(seed).spec)
    assert len({str(outcome(here, run(seed).spec)) for seed in range(3)}) == 3
    assert {r.metrics["threads"] for r in there.records()} == {1.0}


def test_valuable_runs_come_first(store: Store) -> None:
    execute([run(0, priority=1), run(1, priority=3), run(2, priority=2)], store)
    times = {path.stat().st_mtime_ns: Record.from_json(path.read_bytes()).spec.seed for path in store.paths()}
    assert [times[t] for t in sorted(times)] == [1, 2, 0]


def test_missing_names_each_run_once(store: Store) -> None:
    execute([run(1)], store)
    wanted = [run(0, priority=1), run(1), run(2, priority=2), run(0, role="report", priority=5)]
    assert [(p.spec.seed, p.priority) for p in missing(wanted, store)] == [(0, 5), (2, 2)]


@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_failures_are_told_and_the_others_go_on(store: Store, checkout: Path, jobs: int) -> None:
    bad = run(0, method="fail", priority=2)
    summary = execute([bad, run(1), run(2, method="diverge")], store, jobs=jobs)
    assert (summary.done, summary.diverged) == (2, 1)
    (fails,) = summary.failed
    assert (
        fails.startswith("99_fake tuning fail seed 0 (") and "ZeroDivisionError: no way (details in" in fails
    )
    details = (checkout / "data/scratch/errors" / f"{bad.spec.hash[:16]}.txt").read_text()
    assert "Traceback" in details and "fake_runs.py" in details


@pytest.mark.slow
def test_killed_process_loses_its_own_run_only(store: Store) -> None:
    summary = execute([run(9, method="die", priority=9), *(run(seed) for seed in range(3))], store, jobs=2)
    assert summary.done == 3
    assert len(summary.failed) == 1 and "killed by signal 9" in summary.failed[0]
    assert len(list(store.records())) == 3


def test_complete_stops_when_nothing_succeeds(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FUNCTIONS, "replay", fake_runs.entry("replay", fake_runs.fail))
    summary = complete(fake_runs, "smoke", store)
    assert (summary.done, summary.left, len(summary.failed)) == (2, 1, 1)


def test_roles_limit_what_is_run(store: Store) -> None:
    assert complete(fake_runs, "desk", store, selection=Selection(roles=("tuning",))).done == 3
    assert {r.labels["role"] for r in store.records()} == {"tuning"}


@pytest.mark.parametrize(
    ("selection", "seeds"),
    [
        (Selection(seeds=parse_seeds("1-2")), {1, 2}),
        (Selection(seeds=parse_seeds("0,2-2")), {0, 2}),
        (Selection(tasks=("mnist5k",), seeds=frozenset({1})), {1}),
        (Selection(tasks=("mnist5k/mlp",)), {0, 1, 2}),
    ],
)
def test_tasks_and_seeds_limit_what_is_run(store: Store, selection: Selection, seeds: set[int]) -> None:
    complete(fake_runs, "desk", store, selection=selection)
    assert {r.spec.seed for r in store.records() if r.labels["role"] == "tuning"} == seeds


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        (Selection(roles=("tunning",)), "no run of the role 'tunning' is planned so far; there are tuning"),
        (Selection(tasks=("mnist",)), "no run of the task 'mnist' .* there are mnist5k, mnist5k/mlp"),
        (Selection(seeds=frozenset({0, 7})), "no run of the seed 7 .* there are 0, 1, 2"),
    ],
)
def test_selection_of_nothing_is_refused(store: Store, selection: Selection, message: str) -> None:
    with pytest.raises(SelectionError, match=message):
        complete(fake_runs, "desk", store, selection=selection)
    assert not list(store.records())


@pytest.mark.parametrize(
    "text", ["", "a", "1,", "3-1", "-1", "1-2-3", "0-99999999", "\N{ARABIC-INDIC DIGIT ONE}"]
)
def test_seeds_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(SelectionError, match="seeds: write"):
        parse_seeds(text)


def test_budget_starts_no_run_that_would_not_end_in_time(store: Store) -> None:
    slow = [run(seed, method="sleep", priority=-seed, seconds=0.4) for seed in range(5)]
    summary = execute(slow, store, budget_s=1.3)
    assert summary.out_of_time
    assert 1 <= summary.done <= 3 and summary.done + summary.left == 5
    assert summary.seconds < 1.6
    assert execute(slow[:1], store, budget_s=0.0).left == 1


def test_run_stopped_by_the_budget_is_carried_on(store: Store, checkout: Path) -> None:
    planned = run(0, method="resume")
    for _ in range(2):
        summary = execute([planned], store, budget_s=60)
        assert (summary.done, summary.left, summary.out_of_time) == (0, 1, True)
        assert store.get(planned.spec) is None
    assert len(list(checkout.glob("data/scratch/checkpoints/*.pt"))) == 1
    assert execute([planned], store).done == 1
    assert outcome(store, planned.spec)[2] == {"loss": 3.0}
    assert not list(checkout.glob("data/scratch/checkpoints/*.pt"))


def test_end_of_the_budget_stops_what_is_under_way_and_its_checkpoint_carries_on(store: Store) -> None:
    execute([run(7)], store)  # what a process does once shall not eat up the budget
    planned = run(0, method="count")
    summary = execute([planned, run(1, method="count", priority=-1)], store, budget_s=1.2)
    assert (summary.done, summary.interrupted, summary.left, summary.failed) == (0, 1, 2, [])
    assert summary.out_of_time and summary.seconds < 2.0
    assert execute([planned], store).done == 1
    record = store.get(planned.spec)
    assert record is not None and record.metrics["resumed_at"] >= 1
    assert record.cost["seconds"] >= 2.0, "the time before the stop counts"
    assert not list(Path("data/scratch/checkpoints").iterdir())


@pytest.mark.slow
def test_end_of_the_budget_ends_processes_whatever_they_do(store: Store) -> None:
    begun = time.monotonic()
    summary = execute([run(seed, method="stubborn") for seed in (0, 1)], store, jobs=2, budget_s=4.0)
    assert time.monotonic() - begun < 6
    assert (summary.interrupted, summary.left, summary.failed) == (2, 2, [])
    assert not multiprocessing.active_children()


def test_a_run_too_long_for_the_budget_is_started_only_if_it_can_be_carried_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    planned, known = run(0, method="count"), Durations()
    known.learn(planned.spec, 100.0)

    def started(seconds: float) -> bool:
        return execution._Queue([planned], known, 1, time.time() + seconds, None).next() == (planned,)

    assert started(101) and not started(99)
    monkeypatch.setitem(FUNCTIONS, "count", fake_runs.entry("count", fake_runs.count, resumable=True))
    assert started(50) and not started(5), "a start costs time as well"


def test_broken_store_stops_before_and_during(
    store: Store, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is computed for a folder that cannot be written; a result at hand is put elsewhere."""
    (checkout / "file").touch()
    with pytest.raises(StoreError, match="make room there or choose another folder"):
        execute([run(0)], Store(checkout / "file"))

    put = Store.put

    def full(self: Store, record: Record) -> Path:
        if self.root == store.root:
            raise StoreError(f"cannot write to {self.root} (No space left on device)")
        return put(self, record)

    monkeypatch.setattr(Store, "put", full)
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(checkout / "elsewhere"))
    summary = execute([run(0, priority=1), run(1)], store)
    assert (summary.done, summary.left, summary.stopped) == (0, 1, True)
    assert "its record was put into" in summary.failed[0]
    assert Store(checkout / "elsewhere" / "adatune-rescued-records").get(run(0).spec) is not None


def test_conflict_is_told_and_both_are_kept(store: Store) -> None:
    execute([run(0)], store)
    before = outcome(store, run(0).spec)
    path = next(store.paths())
    record = Record.from_json(path.read_bytes())
    path.unlink()
    other = dataclasses.replace(record, metrics={})
    store.put(other)
    summary = execute([run(0)], store)
    assert len(summary.failed) == 1 and "is there with another outcome" in summary.failed[0]
    (beside,) = path.parent.glob("*.conflict-*")
    assert Record.from_json(beside.read_bytes()).content() == before


@contextmanager
def killed_at_last(group: int) -> Iterator[None]:
    """A test that fails leaves no process behind for the next."""
    try:
        yield
    except BaseException:
        os.killpg(group, signal.SIGKILL)
        raise


@pytest.mark.slow
def test_ctrl_c_keeps_what_is_finished(checkout: Path) -> None:
    script = checkout / "script.py"
    script.write_text(
        "from adatune_lite.runs.execute import execute\n"
        "from adatune_lite.runs.progress import quiet\n"
        "from adatune_lite.runs.store import Store\n"
        "from adatune_lite.training.registry import put\n"
        "from fake_runs import FAKES, run\n"
        "if __name__ == '__main__':\n"
        "    put(*FAKES)\n"
        "    runs = [run(0, priority=9), run(1, priority=8)]\n"
        "    runs += [run(seed, method='sleep', seconds=600) for seed in (2, 3)]\n"
        "    execute(runs, Store('out'), jobs=2, progress=quiet)\n"
    )
    paths = os.pathsep.join([str(Path(fake_runs.__file__).parent), *filter(None, sys.path)])
    process = subprocess.Popen(
        [sys.executable, str(script)],
        env={**os.environ, "PYTHONPATH": paths},
        stderr=subprocess.PIPE,
        start_new_session=True,
        # Whoever runs the tests in the background has Ctrl-C ignored, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    with process, killed_at_last(process.pid):
        give_up = time.monotonic() + 60
        while not all((checkout / f"started-{seed}").exists() for seed in (2, 3)):
            assert time.monotonic() < give_up and process.poll() is None
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)  # As a terminal does: parent and workers get it.
        _, said = process.communicate(timeout=20)
    assert b"KeyboardInterrupt" in said and process.returncode != 0
    out = Store(checkout / "out")
    assert sorted(r.spec.seed for r in out.records()) == [0, 1]
    assert not list(out.verify())
    while True:  # No worker is left behind; multiprocessing's own helper needs a moment to go.
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            break
        assert time.monotonic() < give_up
        time.sleep(0.05)


def test_device_and_numbers_are_checked(store: Store) -> None:
    for bad, message in (
        ({"jobs": 0}, "jobs must be at least 1"),
        ({"budget_s": -1.0}, "budget must be a number of seconds"),
        ({"budget_s": float("nan")}, "budget must be a number of seconds"),
        ({"device": "tpu"}, "device must be cpu, cuda or auto"),
    ):
        with pytest.raises(ExecutionError, match=message):
            execute([run(0)], store, **bad)
    if not torch.cuda.is_available():
        with pytest.raises(ExecutionError, match="no CUDA device"):
            execute([run(0)], store, device="cuda")
    with pytest.raises(ExecutionError, match="has the profiles smoke, desk, not 'huge'"):
        complete(fake_runs, "huge", store)


def test_runs_that_differ_in_their_seed_alone_are_made_in_one_go(store: Store, checkout: Path) -> None:
    group = [run(seed, method="pair") for seed in (3, 5)]
    other = run(0, method="pair", priority=-1, lr=0.5)
    alone = run(0, method="noise", priority=-2)
    waiting = [alone, other, *group]
    queue = execution._Queue(waiting, Durations(), 1, math.inf, None, together=True)
    assert [queue.next() for _ in range(4)] == [tuple(group), (other,), (alone,), None]
    on_cpu = execution._Queue(waiting, Durations(), 1, math.inf, None)
    assert on_cpu.next() == (group[0],), "one run, one thread"

    setting = Setting(store, "cpu")
    first = perform(tuple(group), setting, lambda done, total: None)
    assert [done.status for done in first] == ["stopped by budget"] * 2
    (kept,) = checkout.glob("data/scratch/checkpoints/*.pt")
    assert "-3-5-" in kept.name
    assert [done.status for done in perform(tuple(group), setting, lambda *_: None)] == ["finished"] * 2
    for planned in group:
        record = store.get(planned.spec)
        assert record is not None
        assert record.metrics == {"loss": planned.spec.seed, "of": 2.0}
        assert record.provenance["side_by_side"] == 2
    assert not kept.exists()


class TestContext:
    def test_source_has_the_digits_that_were_named(self, store: Store, tmp_path: Path) -> None:
        execute([run(0)], store)
        record = store.get(run(0).spec)
        assert record is not None
        context = Context("cpu", store, Checkpoint(tmp_path / "c.pt", "c"))
        named = RunSpec(
            "replay", fake_runs.TASK, "replay", 8, 1, source=record.spec.hash, source_digest=record.digest()
        )
        assert context.source(named) == record
        other = RunSpec(
            "replay", fake_runs.TASK, "replay", 8, 1, source=record.spec.hash, source_digest="0" * 16
        )
        with pytest.raises(SourceMissing, match="run the experiment that makes it first"):
            context.source(other)

    def test_saves_in_time_and_at_the_end(self, store: Store, tmp_path: Path) -> None:
        checkpoint = Checkpoint(tmp_path / "c.pt", "c")
        context = Context("cpu", store, checkpoint, save_every=0.2)
        assert not context.due() and not context.ending()
        time.sleep(0.21)
        assert context.due() and not context.ending()
        context.save({"step": 1})
        assert not context.due() and context.load() == {"step": 1}
        assert Context("cpu", store, checkpoint, deadline=time.time()).due(), "its budget has ended"

    def test_checkpoint_that_cannot_be_written_costs_no_run(self, store: Store, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        context = Context("cpu", store, Checkpoint(tmp_path / "file" / "c.pt", "c"))
        context.save({"step": 1})

    def test_run_with_a_damaged_checkpoint_says_so_and_the_others_go_on(
        self, store: Store, checkout: Path
    ) -> None:
        planned = run(0, method="resume", priority=1)
        execute([planned], store, budget_s=60)
        (path,) = checkout.glob("data/scratch/checkpoints/*.pt")
        path.write_bytes(b"garbage")
        summary = execute([planned, run(1)], store)
        assert summary.done == 1 and "damaged: delete it to start anew" in summary.failed[0]
        assert path.read_bytes() == b"garbage"


def test_summaries_add_up() -> None:
    total = Summary(done=1, failed=["a"])
    total.add(Summary(done=2, diverged=1, failed=["b"], out_of_time=True, left=4))
    ended = (total.done, total.diverged, total.failed, total.left, total.out_of_time)
    assert ended == (3, 1, ["a", "b"], 4, True)
