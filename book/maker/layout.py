"""Where the site's sources and products lie, and the one error a user sees."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

PROFILES = ("smoke", "quick", "desk", "paper")
"""Every profile a notebook knows, from the smallest to the largest."""


class BookError(Exception):
    """Something the user can mend; the message is one sentence that says how."""


@dataclass(frozen=True)
class Layout:
    """The folders of one checkout; everything made lies under ``build``."""

    root: Path

    @property
    def notebooks(self) -> Path:
        return self.root / "notebooks"

    @property
    def book(self) -> Path:
        return self.root / "book"

    @property
    def runs(self) -> Path:
        """Notebooks executed by ``reproduce``: the reader's own runs."""
        return self.root / "build" / "runs"

    @property
    def staging(self) -> Path:
        """Copy of ``book`` plus the executed notebooks: what Sphinx reads."""
        return self.root / "build" / "book"

    @property
    def sphinx(self) -> Path:
        return self.root / "build" / "sphinx"

    @property
    def site(self) -> Path:
        return self.root / "build" / "site"


@dataclass(frozen=True)
class Notebook:
    """One source notebook, ``notebooks/NN_name.ipynb``."""

    path: Path

    @property
    def stem(self) -> str:
        return self.path.stem

    @property
    def number(self) -> str:
        return self.stem.split("_", 1)[0]

    @property
    def name(self) -> str:
        return self.stem.split("_", 1)[1]


def find_notebooks(folder: Path) -> list[Notebook]:
    """The notebooks in ``folder``, in the order of their numbers; other files are left alone."""
    named = re.compile(r"\d+_\w+")
    return [Notebook(path) for path in sorted(folder.glob("*.ipynb")) if named.fullmatch(path.stem)]


def choose(notebooks: list[Notebook], wanted: str) -> list[Notebook]:
    """The notebooks meant by ``wanted``: ``all``, a number (01 or 1), or a name with or without its number.

    Raises BookError when there is none.
    """
    if wanted == "all":
        return notebooks
    for notebook in notebooks:
        if wanted in (notebook.stem, notebook.name, notebook.number, notebook.number.lstrip("0")):
            return [notebook]
    known = ", ".join(notebook.stem for notebook in notebooks) or "none is there yet"
    raise BookError(f"there is no experiment {wanted!r}; allowed are 'all', a number or a name of: {known}.")
