"""The file of claims, the rules that every verdict obeys, the table and the command."""

from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path

import pytest
from synthetic import results

from adatune_lite import __main__, claims
from adatune_lite.claims import Claim, ClaimError, Finding
from adatune_lite.claims.verdict import OUTCOMES, best, conclude, judges_of
from adatune_lite.experiments import EXPERIMENTS
from adatune_lite.experiments import lrs_opt_vs_marthe as experiment


def claim(**changes: object) -> Claim:
    fields: dict[str, object] = {
        **{"id": "a.b", "paper": "marthe", "where": "here", "statement": "It holds.", "kind": "difference"},
        **{"setting": {"any": True}, "test": "a minus b < 0", "scale_needed": "any", "evidence": "paper"},
    }
    return Claim(**{**fields, **changes})  # type: ignore[arg-type]


def test_every_claim_of_the_file_is_read() -> None:
    held = claims.load()
    assert len(held) == 250 and len({c.id for c in held}) == 250
    mnist = {c.id: c for c in held if c.id.startswith("marthe.mnist.")}
    assert len(mnist) == 6
    assert mnist["marthe.mnist.lrsopt_beats_constant"].least_seeds == 10
    assert mnist["marthe.mnist.hd_greedy"].least_seeds == 5
    assert mnist["marthe.mnist.hd_greedy"].expected
    assert not mnist["marthe.mnist.horizon"].expected
    assert {c.least_seeds for c in held} == {5, 10}, "no test lowers the five seeds of the rules"


SOUND = """
- id: a.b
  paper: marthe
  where: here
  statement: It holds.
  kind: difference
  setting: {any: true}
  test: a minus b < 0
  scale_needed: any
  evidence: paper
"""


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("test: a", "tset: a"), "claim a.b has the unknown field 'tset'; allowed: id, paper"),
        (("  test: a minus b < 0\n", ""), "claim a.b lacks the field 'test'"),
        (("- id: a.b\n  paper", "- paper"), "entry 1 of the claims lacks the field 'id'"),
        (("kind: difference", "kind: absolute"), "claim a.b lacks the field 'value'"),
        (("kind: difference", "kind: guess"), "kind must be one of absolute, difference"),
        (("evidence: paper", "evidence: rumour"), "evidence must be one of"),
        (("scale_needed: any", "scale_needed: small"), "scale_needed must be one of paper, any"),
        (("{any: true}", "MNIST"), "setting must be a mapping"),
        (("where: here", "where: 7"), "where must be a text, not 7"),
        (("where: here", "value: much\n  where: here"), "value must be a number or a list of numbers"),
        ((SOUND, SOUND + SOUND), "two claims have the id a.b"),
        ((SOUND, "a: ["), "cannot be read"),
        ((SOUND, "a: 1"), "must be a list of claims"),
        ((SOUND, "- 1"), "entry 1 of the claims must be a mapping of fields, not 1"),
    ],
)
def test_a_wrong_file_is_refused_in_a_sentence(tmp_path: Path, change: tuple[str, str], said: str) -> None:
    file = tmp_path / "claims.yaml"
    file.write_text(SOUND.replace(*change))
    with pytest.raises(ClaimError) as error:
        claims.load(file)
    assert said in str(error.value)


def test_a_sound_file_is_read_and_a_missing_one_is_named(tmp_path: Path) -> None:
    file = tmp_path / "claims.yaml"
    file.write_text(SOUND)
    assert claims.load(file) == [claim()]
    with pytest.raises(ClaimError, match=r"nothing\.yaml cannot be read"):
        claims.load(tmp_path / "nothing.yaml")


FOUND = Finding(passes=True, seeds=5, why="p = 0.01.", runs=("abc",), statistic={"p": 0.01})


@pytest.mark.parametrize(
    ("finding", "outcome"),
    [
        (FOUND, "supported"),
        (replace(FOUND, equivalent=True, opposite=True), "supported"),
        (replace(FOUND, passes=False), "undecided"),
        (replace(FOUND, passes=False, opposite=True), "contradicted"),
        (replace(FOUND, passes=False, opposite=True, equivalent=True), "equivalent"),
        (replace(FOUND, seeds=4), "undecided"),
        (replace(FOUND, passes=False, opposite=True, seeds=4), "undecided"),
        (replace(FOUND, missing=("HD",)), "undecided"),
        (replace(FOUND, runs=()), "not run"),
    ],
)
def test_the_rules_in_their_order(finding: Finding, outcome: str) -> None:
    given = conclude(claim(), "desk", finding)
    assert given.outcome == outcome
    assert given.outcome in OUTCOMES
    if finding.runs:
        assert given.statistic == {"p": 0.01} and given.why.startswith("p = 0.01.")


def test_a_claim_about_the_printed_scale_is_judged_at_it_only() -> None:
    printed = claim(scale_needed="paper")
    assert conclude(printed, "paper", FOUND).outcome == "supported"
    reduced = conclude(printed, "desk", FOUND)
    assert reduced.outcome == "not run at the printed scale" and reduced.runs == ("abc",)
    assert conclude(printed, "desk", Finding()).outcome == "not run"


def test_an_absolute_claim_is_reproduced_when_the_interval_meets_its_margin() -> None:
    printed = claim(kind="absolute", test="", value=94.5, equivalence_margin=0.3)
    below = [93.85, 94.1, 94.0, 94.3, 94.0]
    meets, numbers = claims.meets_printed(printed, below)
    assert meets and numbers["mean"] == pytest.approx(94.05) and numbers["high"] > 94.2
    assert numbers["low"] < 94.05 < numbers["high"] and numbers["printed"] == 94.5
    assert not claims.meets_printed(printed, [v - 0.3 for v in below])[0]
    assert not claims.meets_printed(printed, [v + 1.3 for v in below])[0]
    assert conclude(printed, "paper", FOUND).outcome == "reproduced"
    with pytest.raises(ClaimError, match="is not one number"):
        claims.meets_printed(replace(printed, equivalence_margin="factor 2"), below)


def test_the_larger_scale_speaks_once_it_has_enough_seeds() -> None:
    paper = conclude(claim(), "paper", replace(FOUND, seeds=3))
    desk = conclude(claim(), "desk", FOUND)
    assert best([paper, desk]) is desk
    full = conclude(claim(), "paper", replace(FOUND, passes=False))
    assert best([full, desk]) is full, "an undecided test at the larger scale is not replaced"


def test_a_claim_has_one_judge_and_a_judge_one_claim() -> None:
    held = judges_of(experiment)
    assert sorted(held) == sorted(c.id for c in claims.load() if c.id.startswith("marthe.mnist."))
    with pytest.raises(ClaimError, match="two judges"):
        claims.judge("marthe.mnist.horizon")(lambda claim, found: Finding())
    with pytest.raises(ClaimError, match=r"cannot judge a\.b"):
        held["marthe.mnist.horizon"](claim(), results())


def test_claims_import_no_experiment_before_one_is_asked_for() -> None:
    for file in Path(claims.__file__).parent.glob("*.py"):
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                assert "experiments" not in ast.unparse(node), file.name


def test_the_table_of_the_book() -> None:
    odd = claim(statement="a | b < c costs $5 * n_t", evidence="inferred")
    lines = claims.table_markdown(
        [conclude(odd, "desk", FOUND), conclude(claim(), "desk", Finding())]
    ).splitlines()
    assert len(lines) == 4
    assert r"a \| b &lt; c costs \$5 \* n\_t (Expected from the definitions; not printed.)" in lines[2]
    assert '<span class="verdict supported">supported</span> desk (reduced), 5 seeds' in lines[2]
    assert '<span class="verdict not-run">not run</span> |' in lines[3]
    assert claims.table_markdown([]) == "*No claims are judged here.*"


def test_every_outcome_has_its_colour() -> None:
    sheet = (Path(__file__).parents[1] / "book/_static/custom.css").read_text()
    for outcome in OUTCOMES:
        assert f".verdict.{outcome.replace(' ', '-')}" in sheet


@pytest.mark.slow
def test_the_scorecard_lists_every_claim(capsys: pytest.CaptureFixture[str], checkout: Path) -> None:
    assert __main__.main(["scorecard"]) == 0
    lines = capsys.readouterr().out.splitlines()
    judged = sum(len(judges_of(module)) for module in EXPERIMENTS.values())
    assert lines[-1] == f"250 claims: {judged} not run, {250 - judged} not judged yet"
    assert len(lines) == 252
    assert next(x for x in lines if x.startswith("marthe.mnist.horizon")).split() == [
        *("marthe.mnist.horizon", "not", "run")
    ]


def test_the_scorecard_of_one_experiment(capsys: pytest.CaptureFixture[str], checkout: Path) -> None:
    assert __main__.main(["scorecard", "--experiment", "1", "--profile", "smoke"]) == 0
    out = capsys.readouterr().out
    assert "marthe.mnist.hd_greedy" in out and out.endswith("6 claims: 6 not run\n")
    for wrong, said in (
        (["--profile", "huge"], "unknown profile 'huge' of 01_lrs_opt_vs_marthe; allowed: smoke, quick"),
        (["--experiment", "77"], "unknown experiment '77'"),
    ):
        assert __main__.main(["scorecard", *wrong]) == 2
        err = capsys.readouterr().err
        assert said in err and err.count("\n") == 1
