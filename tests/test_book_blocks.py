"""Every block of Python that the book and the README show, run as it stands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest
import torch
from torch import nn

mpl.use("Agg")

ROOT = Path(__file__).resolve().parent.parent
FENCE = re.compile(r"^```python\n(.*?)^```$", flags=re.DOTALL | re.MULTILINE)


def run_blocks(page: str, namespace: dict[str, Any]) -> dict[str, Any]:
    """Run the page's blocks in order in one namespace; an error names the page and its line."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found = list(FENCE.finditer(text))
    assert found and len(found) == text.count("```python"), page
    for block in found:
        padding = "\n" * text.count("\n", 0, block.start(1))
        exec(compile(padding + block[1], ROOT / page, "exec"), namespace)
    return namespace


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Blocks write their files into a folder of the test."""
    monkeypatch.chdir(tmp_path)


# Lightning 2.6 asks its own tree of arguments by a name that torch 2.14 has deprecated.
@pytest.mark.filterwarnings("ignore:`isinstance\\(treespec, LeafSpec\\)` is deprecated")
# Advice of Lightning's that means a network trained for real: loader processes, a GPU.
@pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers")
# The page resumes into the folder that it resumes from.
@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
@pytest.mark.slow
def test_own_loop(tmp_path: Path) -> None:
    import matplotlib.pyplot as plt

    shown = run_blocks("book/own_loop.md", {})
    assert [axes.get_xlabel() for axes in shown["figure"].axes][1] == "step of the trial"
    trained, resumed = shown["classifier"].tuner, shown["resumed"].tuner
    batches = len(shown["train_loader"])
    assert shown["trainer"].global_step == 2 * batches == trained.state_dict()["steps"]
    assert resumed.state_dict()["steps"] == 3 * batches and resumed.lr != trained.lr != 0.01
    assert len(shown["tuner"].log) == 4
    assert Path(shown["saved"]).is_file() and (tmp_path / "state.pt").is_file()
    plt.close("all")


def test_readme(capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    batches = [(torch.randn(8, 3), torch.randint(2, (8,))) for _ in range(6)]
    given = {"train_batches": batches[:3], "validation_batches": batches[3:]}
    run_blocks("README.md", {"model": nn.Linear(3, 2), "loss_fn": nn.CrossEntropyLoss(), **given})
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_no_page_shows_a_block_that_is_not_run() -> None:
    pages = [*ROOT.glob("*.md"), *ROOT.glob("book/*.md"), *ROOT.glob("data/*.md")]
    shown = {page.relative_to(ROOT).as_posix() for page in pages if "```python" in page.read_text("utf-8")}
    assert shown == {"CONTRIBUTING.md", "README.md", "book/own_loop.md"}
