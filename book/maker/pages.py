"""Turn an executed notebook, or the lack of one, into a page of the book."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from .layout import BookError, Notebook

HIDDEN_TAGS = {"parameters", "injected-parameters"}


def source_of(cell: dict[str, Any]) -> str:
    """A cell's text; the notebook format allows a string or a list of lines."""
    text = cell["source"]
    return text if isinstance(text, str) else "".join(text)


def read_notebook(path: Path) -> dict[str, Any]:
    """Parse a notebook; BookError when the file is not one."""
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content["cells"], list):
            raise TypeError
    except (ValueError, KeyError, TypeError):
        raise BookError(
            f"{path.name} is not a notebook; delete it or restore it from the repository."
        ) from None
    return content


def title_of(notebook: dict[str, Any], fallback: str) -> str:
    """The first top-level heading of the notebook."""
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            heading = re.search(r"^# +(.+)$", source_of(cell), flags=re.MULTILINE)
            if heading:
                return heading[1].strip()
    return fallback


def prepare(notebook: dict[str, Any], name: str) -> dict[str, Any]:
    """Make an executed notebook fit for the page: parameters hidden, pictures described. Changes it in place.

    The parameters cell and papermill's override of it contradict each other on a page, and the badge says
    which profile was used. A picture's alternative text is read from its output's metadata, where ``display``
    puts it, and moved to the cell, where myst-nb looks for it. The folders of this machine, which papermill
    notes, are forgotten.

    Raises BookError when a picture has no alternative text, or its cell shows a second one.
    """
    for key in ("input_path", "output_path"):
        notebook.get("metadata", {}).get("papermill", {}).pop(key, None)
    for position, cell in enumerate(notebook["cells"]):
        metadata = cell.setdefault("metadata", {})
        tags = metadata.setdefault("tags", [])
        if HIDDEN_TAGS & set(tags) and "remove-cell" not in tags:
            tags.append("remove-cell")
        texts = picture_texts(cell)
        if not texts:
            continue
        if len(texts) > 1:
            raise BookError(
                f"cell {position} of {name} shows {len(texts)} pictures; give each a cell of its own."
            )
        image = metadata.setdefault("mystnb", {}).setdefault("image", {})
        image["alt"] = texts[0] or image.get("alt", "")
        if not image["alt"]:
            raise BookError(
                f"the picture of cell {position} of {name} has no alternative text; display it with"
                ' metadata={"image/png": {"alt": "what it shows"}}.'
            )
    return notebook


def picture_texts(cell: dict[str, Any]) -> list[str]:
    """The alternative text of each picture that a cell shows, empty where it has none."""
    texts = []
    for output in cell.get("outputs", []):
        kinds = [kind for kind in output.get("data", {}) if kind.startswith("image/")]
        if kinds:
            described = [output.get("metadata", {}).get(kind, {}).get("alt", "") for kind in kinds]
            texts.append(next(filter(None, described), output.get("metadata", {}).get("alt", "")))
    return texts


def own_run(notebook: dict[str, Any], name: str, profile: str) -> dict[str, Any]:
    """The page of the reader's own run: `prepare`, a title of its own, a link to the committed page.

    Labels are dropped: they are defined on the committed page, and twice the same one would be an error.
    """
    title = title_of(notebook, name)
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            text = re.sub(r"^\([\w-]+\)=\n", "", source_of(cell), flags=re.MULTILINE)
            cell["source"] = re.sub(r"^(\$\$) *\([\w-]+\) *$", r"\1", text, flags=re.MULTILINE)
    banner = (
        f"# Your run ({profile}): {title}\n\n"
        f"Computed on this machine{_when(notebook)}."
        f" {{doc}}`The chapter from the committed records <{name}>`."
    )
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown" and re.search(r"^# ", source_of(cell), flags=re.MULTILINE):
            cell["source"] = re.sub(r"^# .*\n?", "", source_of(cell), count=1, flags=re.MULTILINE)
            break
    notebook["cells"].insert(0, markdown_cell("own-run", banner))
    return prepare(notebook, name)


def _when(notebook: dict[str, Any]) -> str:
    ended = notebook.get("metadata", {}).get("papermill", {}).get("end_time") or ""
    return f" on {ended[:10]} at {ended[11:16]} UTC" if len(ended) >= 16 else ""


def link_to_own_run(notebook: dict[str, Any], page: str, profile: str) -> None:
    """Say below the title of the committed page that the reader's own run is there."""
    note = f"{{doc}}`Your run ({profile}) <{page}>` stands beside this page."
    for position, cell in enumerate(notebook["cells"]):
        if cell["cell_type"] == "markdown" and re.search(r"^# ", source_of(cell), flags=re.MULTILINE):
            notebook["cells"].insert(position + 1, markdown_cell("own-run-link", note))
            return
    notebook["cells"].insert(0, markdown_cell("own-run-link", note))


def markdown_cell(name: str, text: str) -> dict[str, Any]:
    """A cell of the notebook format 4.5, which wants an id."""
    return {"cell_type": "markdown", "id": name, "metadata": {}, "source": text}


def stub(source: Notebook, own: tuple[str, str] | None) -> str:
    """The page of an experiment without committed records; ``own``: page and profile of the reader's run."""
    title = title_of(read_notebook(source.path), source.stem)
    beside = f"\n{{doc}}`Your run ({own[1]}) <{own[0]}>` is there.\n" if own else ""
    return f"""# {title}

<span class="badge-profile none">no records yet</span>
{beside}
Nothing has been computed and committed for this experiment yet. A small version on a small data set is run by

```bash
make reproduce EXP={source.number}
```

The records that would stand here are made by

```bash
make reproduce EXP={source.number} PROFILE=desk
```
"""
