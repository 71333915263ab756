"""What tests share."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import fake_runs
import pytest
from tiny_cifar import tiny as tiny

from adatune_lite import files
from adatune_lite.tasks.data import load_images
from adatune_lite.training import registry

if TYPE_CHECKING:
    from smoke_runs import Smoke


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of whole experiments are slow: the first of an experiment makes all runs of its smoke profile."""
    for item in items:
        if "smoke" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(autouse=True)
def _figures_closed() -> Iterator[None]:
    """Figures that a test opened are closed after it: many open ones are a warning, which is an error."""
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


@pytest.fixture(scope="session")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Smoke:
    """The results of an experiment's smoke profile; its runs are made once for all tests and processes."""
    import smoke_runs  # plots and experiments, which most tests do without

    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    return cache(partial(smoke_runs.smoke, folder=shared / "smoke"))


@pytest.fixture
def fakes() -> Iterator[None]:
    """The run functions of `fake_runs` beside the real ones, its own replay in place of the real one."""
    with registry.registered(*fake_runs.FAKES):
        yield


@pytest.fixture
def checkout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty checkout as working folder, also of child processes: nothing touches the real records.

    The embedded digits are there, since parsing them anew takes seconds.
    """
    load_images("mnist5k", "all")
    cache = files.scratch_folder() / "mnist5k.npz"
    folder = tmp_path / "a checkout"
    (folder / "adatune_lite").mkdir(parents=True)
    (folder / "pyproject.toml").touch()
    if cache.is_file():
        (folder / "data" / "scratch").mkdir(parents=True)
        shutil.copy(cache, folder / "data" / "scratch")
    monkeypatch.chdir(folder)
    return folder
