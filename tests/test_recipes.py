"""The recipes of CONTRIBUTING.md, followed to the letter in a copy of the repository."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "book"))

from maker.build import stage  # noqa: E402
from maker.layout import Layout  # noqa: E402

COPIED = ("adatune_lite", "book", "data/reference", "data/canaries", "notebooks", "tests")
FILES = ("README.md", "pyproject.toml", "CONTRIBUTING.md")
PLACES = {
    "new": r"New file\s+`([^`]+)`:",
    "notebook": r"New notebook\s+`([^`]+)`:",
    "end": r"At the end of\s+`([^`]+)`:",
    "below": r"In\s+`([^`]+)`, below\s+`([^`]+)`:",
    "then": r"Then:",
}


@dataclass(frozen=True)
class Step:
    """One block of a recipe, with where the text before it says that it goes."""

    how: str
    where: tuple[str, ...]
    text: str


def recipes() -> dict[str, list[Step]]:
    """The steps of each recipe, by the heading above them."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    found = {}
    for chapter in re.split(r"^## ", text, flags=re.M)[1:]:
        title, _, body = chapter.partition("\n")
        if "\nThen:\n" in body:
            found[title] = list(steps(body))
    return found


def steps(body: str) -> Iterator[Step]:
    """In their order; a block that says nothing of where it goes is an error."""
    before = ""
    for number, part in enumerate(re.split(r"^```(\w*\n.*?)^```\n", body, flags=re.M | re.S)):
        if number % 2 == 0:
            before = part.rstrip()
            continue
        matches = {how: re.search(f"{place}$", before) for how, place in PLACES.items()}
        (how, match), *others = [(how, match) for how, match in matches.items() if match]
        assert not others
        yield Step(how, match.groups(), part.partition("\n")[2])


class Copy:
    """A copy of the repository in which recipes are followed."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in COPIED:
            shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in FILES:
            shutil.copy(ROOT / name, root / name)
        self.touched: set[str] = set()

    def follow(self, recipe: list[Step]) -> list[str]:
        """What its commands print, one text for each."""
        self.touched = {step.where[0] for step in recipe if step.where}
        said = []
        for step in recipe:
            if step.how == "then":
                said += [self.run(line) for line in step.text.splitlines()]
            else:
                self.change(step)
        return said

    def change(self, step: Step) -> None:
        path = self.root / step.where[0]
        if step.how in ("new", "notebook"):
            assert not path.exists()
            path.parent.mkdir(exist_ok=True)
            path.write_text(notebook(step.text) if step.how == "notebook" else step.text, encoding="utf-8")
            return
        old = path.read_text(encoding="utf-8")
        if step.how == "end":
            path.write_text(old + step.text, encoding="utf-8")
            return
        line = f"{step.where[1]}\n"
        assert old.startswith(line) or old.count(f"\n{line}") == 1, f"{step.where[1]!r} is not one line"
        path.write_text(old.replace(line, line + step.text, 1), encoding="utf-8")

    def run(self, command: str) -> str:
        words = shlex.split(command)
        assert words[0] == "python"
        if words[1:3] == ["-m", "pytest"]:
            words += ["-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
        environment = {**os.environ, "PYTHONPATH": str(self.root), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [sys.executable, *words[1:]], cwd=self.root, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
        return done.stdout + done.stderr


def notebook(text: str) -> str:
    """A notebook of cells that begin with a line `# %%`."""
    cells = []
    for number, part in enumerate(re.split(r"^# %%", text, flags=re.M)[1:]):
        head, _, source = part.partition("\n")
        kind = "markdown" if "[markdown]" in head else "code"
        tags = {"tags": ["parameters"]} if "parameters" in head else {}
        cell = {"cell_type": kind, "id": f"cell-{number}", "metadata": tags, "source": source.strip("\n")}
        cells.append({**cell, **({"outputs": [], "execution_count": None} if kind == "code" else {})})
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    return json.dumps({"cells": cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5})


def contents(root: Path) -> list[str]:
    """The chapters that the contents of the book show for experiments."""
    layout = Layout(root)
    stage(layout, lambda name: None, {})
    parts = yaml.safe_load((layout.staging / "_toc.yml").read_text(encoding="utf-8"))["parts"]
    (chapters,) = (part["chapters"] for part in parts if part["caption"] == "Experiments")
    return [Path(chapter["file"]).name for chapter in chapters]


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    return Copy(tmp_path_factory.mktemp("copy"))


def test_a_place_that_is_not_said_is_an_error() -> None:
    with pytest.raises(ValueError, match="unpack"):
        list(steps("Somewhere:\n\n```python\nx = 1\n```\n"))


@pytest.mark.slow
def test_recipes_build_on_each_other(copy: Copy) -> None:
    """A tuner, its fault, an experiment, a part more of it, its claim: in the order of the page."""
    found = recipes()
    assert list(found) == ["A tuner", "A fault", "An experiment", "A part of an experiment", "A claim"]
    (said,) = copy.follow(found["A tuner"])
    assert re.search(r"\d+ passed", said) and " failed" not in said
    (said,) = copy.follow(found["A fault"])
    assert "1 of 1 planted faults noticed" in said
    tested, made = copy.follow(found["An experiment"])
    assert re.search(r"\d+ passed", tested) and "6 runs made" in made
    shown = contents(copy.root)
    assert [name[:2] for name in shown] == [f"{number:02}" for number in (*range(1, 1 + len(shown) - 1), 10)]
    copy.follow(found["A part of an experiment"])
    assert all(name.startswith("adatune_lite/experiments/warm_up/") for name in copy.touched)
    (said,) = copy.follow(found["A claim"])
    assert "At a high rate a warm-up lowers the test loss." in said
