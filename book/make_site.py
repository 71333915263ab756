"""Build the site from committed records, or rerun the notebooks first.

    python book/make_site.py build
    python book/make_site.py reproduce [--profile quick] [--experiment all] [--device auto] [--reuse store]

Exit code 0: all done; 1: a notebook or the build failed; 2: the request made no sense.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from maker.build import build, stage
from maker.execute import clock, execute, relative, say
from maker.layout import PROFILES, BookError, Layout, Notebook, choose, find_notebooks

from adatune_lite.runs.freshness import CanaryError
from adatune_lite.runs.record import RecordError

ROOT = Path(__file__).resolve().parent.parent


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence, without the usage text."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"make_site: {message}\n")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(prog="make_site", description="Build the site, or rerun the notebooks first.")
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("build", help="build the site from what is committed")
    rerun = actions.add_parser("reproduce", help="run notebooks, then build the site")
    rerun.add_argument("--profile", choices=PROFILES, default="quick", help="size of the experiments")
    rerun.add_argument("--experiment", default="all", help="all, or the number or name of one")
    rerun.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    rerun.add_argument(
        "--reuse", choices=("store", "none"), default="store", help="none computes everything again"
    )
    return parser.parse_args(arguments)


def reproduce(layout: Layout, notebooks: list[Notebook], parameters: dict[str, str]) -> list[str]:
    """Run the notebooks one after the other; return the names of those that failed."""
    failed = []
    took: list[float] = []
    for position, notebook in enumerate(notebooks):
        left = len(notebooks) - position
        estimate = f", about {clock(left * sum(took) / len(took))} left" if took else ""
        say(f"[{position + 1}/{len(notebooks)}] {notebook.stem}, profile {parameters['profile']}{estimate}")
        target = layout.runs / f"{notebook.stem}.{parameters['profile']}.ipynb"
        try:
            took.append(execute(notebook.path, target, parameters, progress=sys.stderr))
        except BookError as error:
            failed.append(notebook.stem)
            say(f"  failed: {error}")
        else:
            say(f"  done in {clock(took[-1])}")
    return failed


def make_site(layout: Layout) -> None:
    """Stage and build the site, and say where it is."""
    from maker import networks, operations

    from adatune_lite.experiments import EXPERIMENTS
    from adatune_lite.notebook import best_profile, includes
    from adatune_lite.runs import state
    from adatune_lite.runs.store import stores_for

    started = time.monotonic()
    say("Collecting the pages")
    profiles = state.read(EXPERIMENTS.values())
    generated = {
        **includes(),
        "state.md": state.state_markdown(profiles, stores_for("desk").unreadable()),
        "times.md": state.times_markdown(profiles),
        "operations.md": operations.markdown(),
        "networks.md": networks.markdown(),
    }
    stage(layout, best_profile, generated)
    staged = time.monotonic()
    say("Building the site")
    index = build(layout)
    built = time.monotonic()
    say(f"Pages collected in {clock(staged - started)}, site built in {clock(built - staged)}.")
    say(f"The site is at {relative(index)}")


def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> int:
    options = parse(arguments)
    layout = Layout(root)
    failures: list[str] = []
    try:
        if options.action == "reproduce":
            chosen = choose(find_notebooks(layout.notebooks), options.experiment)
            parameters = {
                "profile": options.profile,
                "reuse": options.reuse,
                "device": options.device,
                "missing": "compute",
            }
            failed = reproduce(layout, chosen, parameters)
            if failed:
                failures.append(f"{len(failed)} of {len(chosen)} notebooks failed: {', '.join(failed)}.")
    except BookError as error:
        print(f"make_site: {error}", file=sys.stderr)
        return 2
    try:
        make_site(layout)
    except (BookError, CanaryError, LookupError, RecordError) as error:
        failures.append(str(error))
    except OSError as error:
        failures.append(f"the site could not be written: {error.strerror} ({error.filename}).")
    for failure in failures:
        print(f"make_site: {failure}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
