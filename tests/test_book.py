"""The logic of book/make_site.py: choosing, executing, staging; the browser's part is test_site.py."""

from __future__ import annotations

import io
import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "book"))

import make_site  # noqa: E402
from maker import build, execute, layout, pages  # noqa: E402


def cell(kind: str, source: str, **more: Any) -> dict[str, Any]:
    code: dict[str, Any] = {"outputs": [], "execution_count": None} if kind == "code" else {}
    return {"cell_type": kind, "metadata": {}, "source": source, **code, **more}


def notebook(*cells: dict[str, Any]) -> dict[str, Any]:
    numbered = [dict(each, id=f"cell-{position}") for position, each in enumerate(cells)]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return {"cells": numbered, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}


def parameters(source: str = 'profile = "smoke"') -> dict[str, Any]:
    return cell("code", source, metadata={"tags": ["parameters"]})


def picture(alt: str | None) -> dict[str, Any]:
    described = {"image/png": {"alt": alt}} if alt is not None else {}
    return {"output_type": "display_data", "data": {"image/png": "iVBORw0KGgo="}, "metadata": described}


@pytest.fixture
def project(tmp_path: Path) -> layout.Layout:
    """A checkout with a book of one page and two notebooks, in a path with a space."""
    root = tmp_path / "a checkout"
    (root / "book").mkdir(parents=True)
    (root / "notebooks").mkdir()
    for name in ("_config.yml", "_static", "references.bib"):
        source = ROOT / "book" / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, root / "book" / name)
    (root / "book" / "_toc.yml").write_text(
        "format: jb-book\nroot: welcome\nparts:\n  - caption: Experiments\n    chapters: []\n"
    )
    (root / "book" / "welcome.md").write_text("# Hello\n\n```{include} generated/finding.md\n```\n")
    for name in ("01_first", "02_second"):
        content = notebook(cell("markdown", f"(label)=\n# Title of {name}\n\nText."), parameters())
        (root / "notebooks" / f"{name}.ipynb").write_text(json.dumps(content))
    (root / "notebooks" / "scratch.ipynb").write_text("{}")
    return layout.Layout(root)


def test_notebooks_are_chosen_by_number_or_name(project: layout.Layout) -> None:
    found = layout.find_notebooks(project.notebooks)
    assert [each.stem for each in found] == ["01_first", "02_second"]
    assert layout.choose(found, "all") == found
    for wanted in ("02", "2", "second", "02_second"):
        assert [each.stem for each in layout.choose(found, wanted)] == ["02_second"]
    with pytest.raises(layout.BookError, match=r"no experiment 'third'.*01_first, 02_second"):
        layout.choose(found, "third")


def test_a_page_hides_parameters_and_describes_pictures() -> None:
    content = notebook(
        parameters(),
        cell("code", "profile = 'desk'", metadata={"tags": ["injected-parameters"]}),
        cell("code", "show()", outputs=[picture("Loss over steps")]),
    )
    content["metadata"]["papermill"] = {"input_path": "/home/me/x.ipynb", "output_path": "y", "end_time": "z"}
    prepared = pages.prepare(content, "01_first")
    assert ["remove-cell" in each["metadata"]["tags"] for each in prepared["cells"]] == [True, True, False]
    assert prepared["cells"][2]["metadata"]["mystnb"]["image"]["alt"] == "Loss over steps"
    assert prepared["metadata"]["papermill"] == {"end_time": "z"}


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ([picture(None)], "no alternative text"),
        ([picture("")], "no alternative text"),
        ([picture("one"), picture("two")], "2 pictures"),
    ],
)
def test_an_undescribed_picture_is_refused(outputs: list[dict[str, Any]], message: str) -> None:
    content = notebook(cell("markdown", "# T"), cell("code", "show()", outputs=outputs))
    with pytest.raises(layout.BookError, match=f"cell 1 of 01_first.*{message}"):
        pages.prepare(content, "01_first")


def test_own_run_has_its_own_title_and_no_labels() -> None:
    content = notebook(cell("markdown", "(label)=\n# Title\n\n$$\nx\n$$ (eq)\n\n# not a second title"))
    content["metadata"]["papermill"] = {"end_time": "2026-01-02T03:04:05.678"}
    page = pages.own_run(content, "01_first", "quick")
    banner, rest = (each["source"] for each in page["cells"])
    assert banner.startswith("# Your run (quick): Title\n")
    assert "on 2026-01-02 at 03:04 UTC" in banner
    assert "<01_first>" in banner
    assert rest == "\n$$\nx\n$$\n\n# not a second title"


def test_a_broken_notebook_is_named(tmp_path: Path) -> None:
    for text in ("", "[]", "{}", '{"cells": 1}'):
        (tmp_path / "x.ipynb").write_text(text)
        with pytest.raises(layout.BookError, match=r"x\.ipynb is not a notebook"):
            pages.read_notebook(tmp_path / "x.ipynb")


@pytest.mark.slow
def test_staging_without_records_makes_stubs_and_own_pages(project: layout.Layout) -> None:
    project.runs.mkdir(parents=True)
    own = notebook(cell("markdown", "# Title of 01_first"), parameters())
    (project.runs / "01_first.quick.ipynb").write_text(json.dumps(own))
    (project.runs / "01_first.desk.failed.ipynb").write_text("{}")
    build.stage(project, lambda name: None, {"finding.md": "The finding."})
    stub = (project.staging / "notebooks" / "01_first.md").read_text()
    assert stub.startswith("# Title of 01_first\n")
    assert 'class="badge-profile none">no records yet<' in stub
    assert "make reproduce EXP=01" in stub
    assert "<01_first_your_quick>" in stub
    assert (project.staging / "generated" / "finding.md").read_text() == "The finding."
    toc = (project.staging / "_toc.yml").read_text()
    assert "01_first_your_quick" in toc and "Your run (quick)" in toc and "failed" not in toc
    index = build.build(project)
    assert index.is_file() and (project.site / "notebooks" / "01_first_your_quick.html").is_file()
    assert "The finding." in (project.site / "welcome.html").read_text()

    # A warning fails the build, and the site that is there stays.
    build.stage(project, lambda name: None, {"finding.md": "See {cite}`nobody2020`."})
    with pytest.raises(layout.BookError, match="nobody2020"):
        build.build(project)
    assert "The finding." in (project.site / "welcome.html").read_text()


def test_toc_without_notebooks_drops_the_part() -> None:
    toc = {"root": "welcome", "parts": [{"caption": "E", "chapters": []}, {"chapters": [{"file": "a"}]}]}
    assert build.with_chapters(toc, []) == {"root": "welcome", "parts": [{"chapters": [{"file": "a"}]}]}


@pytest.mark.slow
def test_execution_uses_this_environment(
    project: layout.Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = tmp_path / "home" / "kernels" / "python3" / "kernel.json"
    spec.parent.mkdir(parents=True)
    spec.write_text(json.dumps({"argv": ["false"], "display_name": "foreign", "language": "python"}))
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "home"))
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "0")
    source = project.notebooks / "01_first.ipynb"
    told = "import sys\nprint(profile, sys.prefix)\nprint('half way', file=sys.stderr)"
    source.write_text(json.dumps(notebook(parameters(), cell("code", told))))
    target = project.runs / "01_first.quick.ipynb"
    progress = io.StringIO()
    assert execute.execute(source, target, {"profile": "quick"}, progress) > 0
    streams = pages.read_notebook(target)["cells"][-1]["outputs"]
    assert "".join(streams[0]["text"]).strip() == f"quick {sys.prefix}"
    assert progress.getvalue() == "    half way\n"
    assert [path.name for path in project.runs.iterdir()] == ["01_first.quick.ipynb"]

    # One that fails says so in a sentence, and the run that is there stays.
    good = target.read_bytes()
    source.write_text(json.dumps(notebook(parameters(), cell("code", "raise ValueError('no digits')"))))
    with pytest.raises(layout.BookError, match=r"01_first stopped in its cell 2.*\n.*ValueError: no digits"):
        execute.execute(source, target, {"profile": "quick"})
    assert target.read_bytes() == good
    assert (project.runs / "01_first.quick.failed.ipynb").is_file()


def test_a_bar_becomes_plain_lines_where_there_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter(range(0, 1000, 4))
    monkeypatch.setattr("maker.execute.time.monotonic", lambda: float(next(now)))
    log = io.StringIO()
    relay = execute.Relay(log)
    for step in range(6):
        relay.write(f"\rruns {step} of 5")
    relay.write("\n")
    lines = log.getvalue().splitlines()
    assert lines[0] == "    runs 0 of 5" and lines[-1] == "    runs 5 of 5"
    assert 2 <= len(lines) < 6

    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    execute.Relay(terminal).write("\rruns 1 of 5")
    assert terminal.getvalue() == "\rruns 1 of 5"


@pytest.mark.parametrize(("seconds", "said"), [(44.6, "45 s"), (200, "3 min 20 s"), (7500, "2 h 05 min")])
def test_durations_are_said_in_words(seconds: float, said: str) -> None:
    assert execute.clock(seconds) == said


@pytest.mark.parametrize("arguments", [["--profile", "huge"], ["--device", "tpu"], ["--experiment", "99"]])
def test_a_wrong_request_is_one_sentence(
    project: layout.Layout, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    try:
        code: Any = make_site.main(["reproduce", *arguments], root=project.root)
    except SystemExit as stop:
        code = stop.code
    said = capsys.readouterr().err
    assert code == 2
    assert arguments[1] in said and said.count("\n") == 1
    assert not project.runs.exists()


def test_one_failing_notebook_does_not_stop_the_others(
    project: layout.Layout, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = []

    def fake(source: Path, target: Path, given: Mapping[str, str], progress: object = None) -> float:
        ran.append((source.stem, target.name, dict(given)))
        if source.stem == "01_first":
            raise layout.BookError("notebook 01_first stopped.")
        return 1.0

    monkeypatch.setattr(make_site, "execute", fake)
    monkeypatch.setattr(make_site, "make_site", lambda project: ran.append(("site", "", {})))
    assert make_site.main(["reproduce", "--profile", "smoke", "--reuse", "none"], root=project.root) == 1
    assert [name for name, _, _ in ran] == ["01_first", "02_second", "site"]
    wanted = {"profile": "smoke", "reuse": "none", "device": "auto", "missing": "compute"}
    assert ran[1][1:] == ("02_second.smoke.ipynb", wanted)
    said = capsys.readouterr()
    assert "failed: notebook 01_first stopped." in said.out
    assert said.err == "make_site: 1 of 2 notebooks failed: 01_first.\n"
