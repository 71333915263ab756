"""Stage the pages and build the site from them, strictly."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml

from .execute import execute, relative, say
from .layout import BookError, Layout, Notebook, find_notebooks
from .pages import link_to_own_run, own_run, prepare, read_notebook, stub


def stage(layout: Layout, best_profile: Callable[[str], str | None], includes: Mapping[str, str]) -> None:
    """Assemble in ``layout.staging`` everything that Sphinx reads.

    Args:
        layout: the folders.
        best_profile: name of a notebook to the best profile that has committed records, or None.
        includes: Markdown written from records, by the name of its file in ``generated``.

    Raises:
        BookError: a notebook failed, or shows a picture without a description.
    """
    shutil.rmtree(layout.staging, ignore_errors=True)
    shutil.copytree(
        layout.book, layout.staging, ignore=shutil.ignore_patterns(".*", "*.py", "maker", "__pycache__")
    )
    generated = layout.staging / "generated"
    generated.mkdir()
    for name, text in includes.items():
        (generated / name).write_text(text, encoding="utf-8")

    found = find_notebooks(layout.notebooks)
    chapters = [(notebook, own_runs(layout, notebook)) for notebook in found]
    profiles = {notebook: best_profile(notebook.stem) for notebook in found}
    (layout.staging / "notebooks").mkdir(exist_ok=True)
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # each waits for a kernel of its own
        staged = [pool.submit(stage_notebook, layout, n, profiles[n], owns) for n, owns in chapters]
        for each in staged:
            each.result()
    toc = yaml.safe_load((layout.book / "_toc.yml").read_text(encoding="utf-8"))
    (layout.staging / "_toc.yml").write_text(yaml.safe_dump(with_chapters(toc, chapters), sort_keys=False))


def stage_notebook(layout: Layout, notebook: Notebook, profile: str | None, owns: dict[str, Path]) -> None:
    """Write the page of one experiment, and one for each of the reader's own runs (profile to file)."""
    folder = layout.staging / "notebooks"
    own = next(((own_page(notebook, name), name) for name in owns), None)
    if profile is None:
        (folder / f"{notebook.stem}.md").write_text(stub(notebook, own), encoding="utf-8")
    else:
        page = folder / f"{notebook.stem}.ipynb"
        say(f"  {notebook.stem}: figures from the {profile} records")
        execute(notebook.path, page, {"profile": profile, "missing": "skip"})
        content = prepare(read_notebook(page), notebook.stem)
        if own:
            link_to_own_run(content, *own)
        page.write_text(json.dumps(content), encoding="utf-8")
    for name, path in owns.items():
        content = own_run(read_notebook(path), notebook.stem, name)
        (folder / f"{own_page(notebook, name)}.ipynb").write_text(json.dumps(content), encoding="utf-8")


def own_page(notebook: Notebook, profile: str) -> str:
    return f"{notebook.stem}_your_{profile}"


def own_runs(layout: Layout, notebook: Notebook) -> dict[str, Path]:
    """The reader's own runs of one notebook, profile to file, the newest first."""
    found = [
        path
        for path in layout.runs.glob(f"{notebook.stem}.*.ipynb")
        if not path.stem.endswith((".part", ".failed"))
    ]
    found.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    return {path.stem.split(".", 1)[1]: path for path in found}


def with_chapters(toc: dict[str, Any], chapters: list[tuple[Notebook, dict[str, Path]]]) -> dict[str, Any]:
    """The table of contents with the part Experiments filled; without notebooks the part is left out."""
    entries = []
    for notebook, owns in chapters:
        entry: dict[str, object] = {"file": f"notebooks/{notebook.stem}"}
        if owns:
            entry["sections"] = [
                {"file": f"notebooks/{own_page(notebook, profile)}", "title": f"Your run ({profile})"}
                for profile in owns
            ]
        entries.append(entry)
    parts = [dict(part, chapters=part["chapters"] or entries) for part in toc["parts"]]
    return dict(toc, parts=[part for part in parts if part["chapters"]])


def build(layout: Layout) -> Path:
    """Build the staged pages; warnings are errors. Return the site's first page.

    The old site stays until the new one is whole.
    """
    shutil.rmtree(layout.sphinx, ignore_errors=True)
    command = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()", "build"]
    options = ["--path-output", str(layout.sphinx), "-W", "-n", "--keep-going", "-q"]
    done = subprocess.run(
        [*command, str(layout.staging), *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    log = layout.sphinx / "build.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text(done.stdout, encoding="utf-8")
    html = layout.sphinx / "_build" / "html"
    if done.returncode or not (html / "index.html").is_file():
        lines = [line for line in done.stdout.splitlines() if "WARNING" in line or "ERROR" in line]
        shown = "\n".join(lines[:20] or done.stdout.splitlines()[-20:])
        raise BookError(f"the site was not built (the whole output is in {relative(log)}):\n{shown}")
    replace_folder(html, layout.site)
    return layout.site / "index.html"


def replace_folder(new: Path, target: Path) -> None:
    """Put the folder ``new`` in the place of ``target``, which is there or not."""
    old = target.with_name(f".{target.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        target.rename(old)
    new.rename(target)
    shutil.rmtree(old, ignore_errors=True)
