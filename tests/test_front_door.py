"""The front door: one set of versions everywhere, a Makefile that explains itself, workflows that fit it."""

import email
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

import adatune_lite

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OLDEST_PYTHON = PROJECT["requires-python"].removeprefix(">=")
MAKE = shutil.which("make")
needs_make = pytest.mark.skipif(MAKE is None, reason="needs make on the PATH")

# A python3 that is too old, one without its venv module, and one that makes an environment of stubs. Stubs
# log what they are asked in calls.txt, so that a test sees when something is installed.
TOO_OLD = """#!/bin/sh
case "$2" in *print*) echo 3.9 ;; *) exit 1 ;; esac
"""
NO_VENV = """#!/bin/sh
case "$2" in *print*) echo 3.11 ;; *ensurepip*) exit 1 ;; esac
"""
SOUND = """#!/bin/sh
case "$2" in *print*) echo 3.11 ;; esac
if [ "$1 $2" = "-m venv" ]; then
    echo "$*" >> calls.txt
    mkdir -p .venv/bin && printf '%s' "$STUB" > .venv/bin/python && chmod +x .venv/bin/python
fi
"""
STUB = """#!/bin/sh
case "$*" in *install*)
    echo "$*" >> calls.txt
    test ! -e power-cut || kill -9 $PPID
    test ! -e offline ;;
esac
"""
VENV = "-m venv --clear .venv"
INSTALL = "-m pip install --disable-pip-version-check --editable .[dev] --constraint constraints.txt"


@pytest.fixture
def door(tmp_path):
    """A copy of the front door in a path with a space, and a PATH without any real Python."""
    folder = tmp_path / "a b"
    folder.mkdir()
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, folder)
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("sh", "cat", "cmp", "rm", "mkdir", "chmod", "date", "sed"):
        (tools / name).symlink_to(shutil.which(name))
    return folder


def add_python(door, text, name="python3"):
    python = door.parent / "bin" / name
    python.write_text(text)
    python.chmod(0o755)


def make(door, *words):
    return subprocess.run(
        [MAKE, *words],
        cwd=door,
        env={"PATH": str(door.parent / "bin"), "STUB": STUB},
        capture_output=True,
        text=True,
    )


def calls(door):
    """What was asked of the stubs since the last look."""
    log = door / "calls.txt"
    lines = log.read_text().splitlines() if log.exists() else []
    log.unlink(missing_ok=True)
    return lines


def pins():
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines)
    return {canonical(line.split("==")[0]): Version(line.split("==")[1]) for line in lines}


def canonical(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def requirements():
    """Every requirement of the core and of all extras, the project's own name (in `dev`) left out."""
    extras = PROJECT["optional-dependencies"]
    every = [*PROJECT["dependencies"], *(line for lines in extras.values() for line in lines)]
    return [r for r in map(Requirement, every) if r.name != PROJECT["name"]]


def test_constraints_pin_every_requirement_within_its_range():
    pinned = pins()
    for requirement in requirements():
        assert pinned[canonical(requirement.name)] in requirement.specifier, requirement


def test_pins_install_on_the_first_release_of_the_oldest_python():
    """The machine that made the pins has a later 3.11.x than, say, Debian 12."""
    for name, version in pins().items():
        try:
            installed = distribution(name)
        except PackageNotFoundError:  # a platform that does not need it
            continue
        assert installed.version == str(version)
        allowed = SpecifierSet(installed.metadata["Requires-Python"] or "")
        assert allowed.contains(f"{OLDEST_PYTHON}.0"), f"{name} {version} wants Python {allowed}"


def test_dev_is_all_extras():
    extras = PROJECT["optional-dependencies"]
    (dev,) = map(Requirement, extras["dev"])
    assert dev.name == PROJECT["name"]
    assert dev.extras == extras.keys() - {"dev"}


def test_conda_environment_is_pyproject_with_the_same_constraints():
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert conda["dependencies"] == [
        f"python={OLDEST_PYTHON}",
        "pip",
        {"pip": ["--constraint constraints.txt", "--editable .[dev]"]},
    ]


@needs_make
@pytest.mark.parametrize(
    ("python", "sentence"),
    [
        (None, "There is no python3 here."),
        (TOO_OLD, "Python 3.9 (python3) is too old."),
        (NO_VENV, "Python 3.11 (python3) lacks its venv module (on Debian and Ubuntu: python3-venv)."),
    ],
    ids=["none", "too old", "no venv"],
)
def test_unusable_python_is_said_in_one_line(door, python, sentence):
    if python:
        add_python(door, python)
    done = make(door, "env")
    assert done.returncode != 0
    advice = f"Install Python {OLDEST_PYTHON} or newer with venv, or name one: make env PYTHON="
    assert done.stderr.splitlines()[0].startswith(f"make: {sentence} {advice}")
    assert not (door / ".venv").exists()


def test_makefile_asks_for_the_python_of_pyproject():
    makefile = (ROOT / "Makefile").read_text()
    assert f"sys.version_info < ({OLDEST_PYTHON.replace('.', ', ')})" in makefile
    assert f"Install Python {OLDEST_PYTHON} or newer" in makefile


@needs_make
def test_first_suitable_python_is_taken(door):
    add_python(door, TOO_OLD)
    add_python(door, NO_VENV, "python3.11")
    add_python(door, SOUND, "python3.12")
    assert make(door, "env").returncode == 0
    assert calls(door) == [VENV, INSTALL]


@needs_make
def test_python_can_be_named_with_a_space_in_its_path(door):
    add_python(door, SOUND, "my python")
    assert make(door, "env", f"PYTHON={door.parent}/bin/my python").returncode == 0
    assert calls(door) == [VENV, INSTALL]


@needs_make
def test_named_python_that_is_not_there_is_named_in_the_message(door):
    add_python(door, SOUND)
    done = make(door, "env", "PYTHON=/nowhere/python")
    assert done.returncode != 0
    assert done.stderr.startswith("make: There is no /nowhere/python here. ")


@needs_make
def test_environment_is_redone_only_when_its_contents_changed(door):
    add_python(door, SOUND)
    assert make(door, "env").returncode == 0
    assert calls(door) == [VENV, INSTALL]

    os.utime(door / "pyproject.toml")
    assert make(door, "env").returncode == 0
    assert calls(door) == []

    with (door / "constraints.txt").open("a") as file:
        file.write("one-more==1.0\n")
    assert make(door, "env").returncode == 0
    assert calls(door) == [INSTALL]
    assert make(door, "env").returncode == 0
    assert calls(door) == []


@needs_make
def test_broken_environment_is_healed(door):
    add_python(door, SOUND)
    (door / "offline").touch()
    done = make(door, "env")
    assert done.returncode != 0
    assert "make: pip could not install the packages" in done.stderr
    assert calls(door) == [VENV, INSTALL]

    (door / "offline").unlink()
    assert make(door, "env").returncode == 0
    assert calls(door) == [VENV, INSTALL]

    (door / ".venv/bin/python").unlink()
    assert make(door, "env").returncode == 0
    assert calls(door) == [VENV, INSTALL]


@needs_make
@pytest.mark.parametrize(("fault", "then"), [("offline", [INSTALL]), ("power-cut", [VENV, INSTALL])])
def test_update_that_failed_is_done_again(door, fault, then):
    """Where pip gave up, the environment is as it was; where it was killed, nobody knows."""
    add_python(door, SOUND)
    assert make(door, "env").returncode == 0
    (door / "constraints.txt").write_text("one-more==1.0\n")
    (door / fault).touch()
    assert make(door, "env").returncode != 0
    calls(door)

    (door / fault).unlink()
    assert make(door, "env").returncode == 0
    assert calls(door) == then


@needs_make
def test_copied_environment_is_made_anew_for_its_folder(door):
    add_python(door, SOUND)
    assert make(door, "env").returncode == 0
    calls(door)
    copy = door.parent / "a copy"
    shutil.copytree(door, copy)
    assert make(copy, "env").returncode == 0
    assert calls(copy) == [INSTALL]


@needs_make
def test_mistyped_setting_is_refused(door):
    done = make(door, "reproduce", "PROFIL=desk")
    assert done.returncode != 0
    assert "there is no setting PROFIL: choose among PROFILE EXP DEVICE REUSE PYTHON" in done.stderr


@needs_make
def test_a_failing_part_of_make_test_stops_it(door):
    add_python(door, SOUND)
    assert make(door, "env").returncode == 0
    (door / ".venv/bin/python").write_text('#!/bin/sh\necho "$*"\ncase "$*" in *nbval*) exit 3 ;; esac\n')
    done = make(door, "test")
    assert done.returncode != 0
    assert "== unit tests: 0 s" in done.stdout
    assert "== notebooks: FAILED after 0 s" in done.stderr
    assert "make_site" not in done.stdout


@needs_make
def test_help_lists_every_target(door):
    targets = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1].split()
    listed = re.findall(r"^  make (\w+)", make(door).stdout, re.MULTILINE)
    assert listed == targets
    readme = (ROOT / "README.md").read_text()
    assert set(re.findall(r"(?:^|`)make ([a-z]+)", readme, re.MULTILINE)) <= set(targets)


def test_links_of_the_readme_lead_somewhere():
    links = re.findall(r"\]\((?!https:)([^)]+)\)", (ROOT / "README.md").read_text())
    assert links
    for link in links:
        assert (ROOT / link).exists(), link


def test_workflows_test_on_the_oldest_python_and_publish_what_was_tested():
    ci, pages = (yaml.safe_load((ROOT / f".github/workflows/{n}.yml").read_text()) for n in ("ci", "pages"))
    steps = ci["jobs"]["test"]["steps"]
    assert ".ci/run" in [step.get("run") for step in steps]
    used = {step["uses"].split("@")[0]: step.get("with", {}) for step in steps if "uses" in step}
    assert used["actions/setup-python"]["python-version"] == OLDEST_PYTHON
    assert used["actions/upload-artifact"]["path"] == "build/site"

    assert pages[True]["workflow_run"]["workflows"] == [ci["name"]]  # YAML 1.1 reads the key `on` as true
    download, *_ = pages["jobs"]["publish"]["steps"]
    assert download["with"]["name"] == used["actions/upload-artifact"]["name"]


def test_ci_script_is_sound_and_executable():
    script = ROOT / ".ci/run"
    assert os.access(script, os.X_OK)
    assert subprocess.run(["bash", "-n", script]).returncode == 0


def test_citation_names_the_version_and_the_reproduced_papers():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == adatune_lite.__version__
    assert citation["license"] == PROJECT["license"]
    cited = {identity["value"] for paper in citation["references"] for identity in paper["identifiers"]}
    assert cited == {"arXiv:1910.08525", "OpenReview:SkgtbaVYvH", "arXiv:1703.04782", "arXiv:1703.01785"}


@pytest.mark.slow
def test_wheel_says_what_it_is(tmp_path):
    """The metadata of a real wheel: the package's version, authors, classifiers, the README as Markdown."""
    copy = tmp_path / "project"
    skip = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(ROOT / "adatune_lite", copy / "adatune_lite", ignore=skip)
    for name in ("pyproject.toml", "README.md", *PROJECT["license-files"]):
        shutil.copy(ROOT / name, copy)
    build = [
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        "--no-build-isolation",
    ]
    build += ["--wheel-dir", str(tmp_path), str(copy)]
    subprocess.run([sys.executable, *build], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (place,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        facts = email.message_from_bytes(archive.read(place))
    assert facts["Version"] == adatune_lite.__version__ and facts["Author"] == "The adatune_lite authors"
    assert facts["License-Expression"] == PROJECT["license"]
    assert facts["Description-Content-Type"] == "text/markdown"
    assert facts.get_payload().startswith("# adatune_lite")
    assert facts.get_all("Classifier") == PROJECT["classifiers"]
    assert facts.get_all("Project-URL") is None, "there is none yet"
    assert "adatune_lite/py.typed" in names and not any(name.startswith("tests") for name in names)


def test_licences_are_whole():
    code, text = ((ROOT / name).read_text() for name in PROJECT["license-files"])
    assert "Apache License" in code
    assert "END OF TERMS AND CONDITIONS" in code
    assert re.findall(r"^Section (\d) --", text, re.MULTILINE) == list("12345678")


@pytest.mark.slow
def test_package_imports_with_torch_and_numpy_alone():
    """Nothing that only an extra brings may be loaded by the import."""
    code = """
import sys, torch, numpy
before = set(sys.modules)
import adatune_lite
print(*sorted({name.split(".")[0] for name in set(sys.modules) - before}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    extras = {canonical(r.name) for r in requirements()} - {"torch", "numpy"} | {"yaml", "pil"}
    assert not extras & {canonical(name) for name in done.stdout.split()}
