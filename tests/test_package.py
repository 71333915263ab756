"""What `import adatune_lite` gives, and what it must not need."""

from __future__ import annotations

import subprocess
import sys

import pytest

import adatune_lite as al

IMPORT_ALL = """
import sys
before = set(sys.modules)
import torch, numpy
torches = set(sys.modules)

class OnlyWhatIsThere:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in sys.stdlib_module_names | {"torch", "numpy", "adatune_lite"} and name not in torches:
            raise ModuleNotFoundError(f"{name} must be imported where it is used")
        return None

sys.meta_path.insert(0, OnlyWhatIsThere())
import adatune_lite, adatune_lite.__main__
import adatune_lite.training.functions
import adatune_lite.runs.execute
"""


@pytest.mark.slow
def test_the_library_and_its_runs_import_with_torch_and_numpy_alone() -> None:
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", IMPORT_ALL], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr


def test_every_public_name_is_there_and_documented() -> None:
    for name in al.__all__:
        assert getattr(al, name).__doc__, name
