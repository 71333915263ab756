"""A spec against the table of functions, methods and optimizers: what does not exist is refused."""

from __future__ import annotations

import inspect
import json
import math
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import fake_runs
import pytest
import torch

from adatune_lite import files
from adatune_lite.checkpoint import Checkpoint
from adatune_lite.runs.record import LIMIT, Record
from adatune_lite.runs.store import Store, stores_for
from adatune_lite.runs.worker import one_thread
from adatune_lite.schedules import OPTIONS
from adatune_lite.tasks import models
from adatune_lite.tasks.spec import SpecError, TaskSpec, Value, pairs
from adatune_lite.training import registry
from adatune_lite.training.context import Context
from adatune_lite.training.functions import setting as made_setting
from adatune_lite.training.loop import evaluate, observed_steps
from adatune_lite.training.methods import OPTION
from adatune_lite.training.outcome import Outcome, Series
from adatune_lite.training.registry import REQUIRED, Function, Method, Setting
from adatune_lite.training.spec import RunSpec
from adatune_lite.tuners import AutoLR, ReduceOnPlateau

registry.load()
TASK = TaskSpec("mnist5k", train=200, validation=40, test=60, hidden=(8,), batch=20)
PAIRS = [
    (function, method)
    for function in registry.FUNCTIONS.values()
    for method in registry.METHODS.values()
    if function.takes(method)
]
NAMED = pytest.mark.parametrize(
    ("function", "method"), PAIRS, ids=[f"{function.name}-{method.name}" for function, method in PAIRS]
)


def run(method: str = "constant", function: str = "training", steps: int = 16, **changes: Any) -> RunSpec:
    settings = changes.pop("settings", {})
    source = {"source": "a" * 64, "source_digest": "b" * 16} if method == "replay" else {}
    return RunSpec(function, TASK, method, steps, 0, pairs(settings), **{**source, **changes})


def good(setting: Setting) -> Value:
    """A value that it may have, its default where it has one."""
    if setting.words and setting.kind is str:
        return str(setting.words[0])
    if setting.default is not None and setting.default is not REQUIRED:
        return setting.default  # type: ignore[return-value]
    least = max(setting.least, setting.above)
    most = min(setting.most, setting.below)
    if setting.kind is int:
        return int(least) + 1
    return (least + most) / 2 if math.isfinite(most) else least + 1.0


def bad(setting: Setting) -> Iterator[object]:
    """Values that it may not have: another type, and beyond each of its bounds."""
    yield from ([1], None, "nonsense")
    if setting.kind in (int, float):
        yield from (True, math.nan, math.inf)
        yield from (10**400,) if setting.kind is float else ()
        yield from (x for x in (setting.least - 1, setting.above, setting.most + 1, setting.below))
    if setting.kind is int:
        yield 2.5
    if setting.kind is bool:
        yield 1
    if setting.kind is str:
        yield 3


def together(settings: tuple[Setting, ...]) -> dict[str, Value]:
    """All of these but those that change nothing beside another one."""
    names = {s.name for s in settings}
    values = {s.name: good(s) for s in settings if s.without not in names}
    for setting in settings:
        for name, wanted in setting.needs:
            if name in values:
                values[name] = 0.5 if wanted is None and not isinstance(values[name], bool) else values[name]
                values[name] = values[name] if wanted is None else wanted
    return values


class TestEverySetting:
    @NAMED
    def test_all_that_is_declared_is_taken_and_told(self, function: Function, method: Method) -> None:
        declared = registry.declared(function.name, method.name, "sgd")
        settings = together(tuple(dict.fromkeys(declared.settings.by_name.values())))
        spec = run(method.name, function.name, settings=settings)
        assert {n: spec.get(n) for n in settings} == dict(spec.settings) == settings
        assert RunSpec.from_dict(json.loads(json.dumps(spec.canonical()))) == spec

    @NAMED
    def test_each_is_refused_where_it_may_not_be(self, function: Function, method: Method) -> None:
        declared = registry.declared(function.name, method.name, "sgd")
        for setting in dict.fromkeys(declared.settings.by_name.values()):
            for value in bad(setting):
                if any(type(value) is type(word) and value == word for word in setting.words):
                    continue
                beside = {n: w or 0.5 for n, w in setting.needs[:1]}
                with pytest.raises(SpecError) as refusal:
                    run(method.name, function.name, settings={**beside, setting.name: value})
                what = f"{setting.name} of {declared.settings.whose}"
                assert str(refusal.value) == f"{what} must be {setting.allowed()}, not {value!r}"

    @NAMED
    def test_what_it_is_by_default_or_that_it_is_needed_is_told(
        self, function: Function, method: Method
    ) -> None:
        spec = run(method.name, function.name)
        for setting in registry.declared(function.name, method.name, "sgd").settings.by_name.values():
            if setting.default is REQUIRED:
                with pytest.raises(SpecError, match=f"needs the setting '{setting.name}'"):
                    spec.get(setting.name)
            else:
                assert spec.get(setting.name) == setting.default

    @pytest.mark.parametrize("name", registry.OPTIMIZERS)
    def test_of_optimizers(self, name: str) -> None:
        optimizer = registry.OPTIMIZERS[name]
        given = together(optimizer.settings)
        spec = run(optimizer=name, optimizer_settings=pairs(given))
        assert dict(spec.optimizer_settings) == given
        made = optimizer.make([torch.zeros(1, requires_grad=True)], lr=0.1, **given)
        assert given.keys() <= made.param_groups[0].keys()
        for setting in optimizer.settings:
            assert inspect.signature(optimizer.make).parameters[setting.name].default == setting.default
            with pytest.raises(SpecError, match=f"{setting.name} of {name} must be"):
                run(optimizer=name, optimizer_settings=((setting.name, "nonsense"),))

    def test_every_label_and_name_is_its_own(self) -> None:
        methods = registry.METHODS.values()
        assert len({m.label for m in methods}) == len({m.name for m in methods}) == len(registry.METHODS)
        assert not {m.kind for m in methods} & set(registry.METHODS)
        entries = [*registry.METHODS.values(), *registry.FUNCTIONS.values(), *registry.OPTIMIZERS.values()]
        for settings in [entry.settings for entry in entries]:
            names = [n for s in settings for n in (s.name, *s.also)]
            assert len(set(names)) == len(names)
        for function, method in PAIRS:
            assert not {s.name for s in function.settings} & {s.name for s in method.settings}


class TestDefaults:
    """What the table says of a setting that is not given is what the tuner does then."""

    @pytest.mark.parametrize("name", ["hd", "hd_validation", "rtho", "marthe", "hd_rate_per_tensor"])
    def test_of_tuners_made_from_their_settings(self, name: str) -> None:
        method = registry.METHODS[name]
        assert isinstance(method.make, partial)
        self.compare(method, method.make.args[0])

    def test_of_tuners_made_by_hand(self) -> None:
        self.compare(registry.METHODS["autolr"], AutoLR, {"otherwise"})
        self.compare(registry.METHODS["plateau"], ReduceOnPlateau, {"every"})

    @staticmethod
    def compare(method: Method, kind: type, without: set[str] = frozenset()) -> None:  # type: ignore[assignment]
        own: dict[str, inspect.Parameter] = {}
        for base in reversed(kind.__mro__):  # **options go on to the base's arguments
            own |= inspect.signature(base.__init__).parameters if "__init__" in vars(base) else {}  # type: ignore[misc]
        compared = [s for s in method.settings if s.name not in {"lr", "outer_batch", *without}]
        assert len(compared) > 0
        for setting in compared:
            default = own[setting.name].default
            assert setting.default == (REQUIRED if default is inspect.Parameter.empty else default), (
                setting.name
            )

    def test_of_schedules(self) -> None:
        for name, options in OPTIONS.items():
            declared = {s.name: s.default for s in registry.METHODS[name].settings}
            assert options.keys() <= OPTION.keys()
            for option, default in options.items():
                assert declared[option] == (None if isinstance(default, tuple) else default)


class TestNames:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"function": "trainning"}, "function must be one of .*training, .*, not 'trainning'"),
            ({"method": "marthee"}, "method must be one of constant, .*, marthe, .*, not 'marthee'"),
            ({"method": "lrs_opt"}, "method of training must be one of constant, .*, not 'lrs_opt'"),
            ({"function": "lrs_opt"}, "method of lrs_opt must be one of lrs_opt, not 'constant'"),
            ({"optimizer": "sdg"}, "optimizer must be one of sgd, adam, adamw, rmsprop, not 'sdg'"),
            (
                {"settings": {"rate": 1.0}},
                "constant in training has no setting 'rate'; it has stop_after, lr, warmup",
            ),
            ({"optimizer_settings": (("beta", 0.9),)}, "sgd has no setting 'beta'; it has momentum, damp"),
            ({"precision": "half"}, "precision must be one of float32, float64, not 'half'"),
            ({"detail": "most"}, "detail must be one of full, summary, not 'most'"),
            ({"keep": ("test_acuracy",)}, "keep must be one of validation_accuracy, test_accuracy, not"),
            ({"steps": 0}, "steps must be a whole number of at least 1"),
            ({"seed": -1}, "seed must be a whole number of at least 0"),
            ({"task": "mnist"}, "task must be a TaskSpec, not 'mnist'"),
        ],
    )
    def test_a_wrong_one_is_refused_with_those_that_there_are(
        self, changes: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(SpecError, match=message):
            replace(run(), **changes)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"dataset": "cifar7"}, "dataset must be one of mnist, mnist5k, .*, not 'cifar7'"),
            ({"model": "vgg12"}, "model must be one of mlp, .*, not 'vgg12'"),
            ({"activation": "gelu"}, "activation must be one of relu, tanh, not 'gelu'"),
        ],
    )
    def test_of_tasks(self, changes: dict[str, Any], message: str) -> None:
        with pytest.raises(SpecError, match=message):
            replace(TASK, **changes)

    def test_a_record_of_a_method_that_is_gone_is_told_and_the_others_are_shown(self, tmp_path: Path) -> None:
        store = Store(tmp_path)

        def put(spec: RunSpec) -> None:
            store.put(Record.of(spec, Outcome("finished", {"lr": [0.1]}), code="c" * 64, device="cpu"))

        put(run())
        with registry.registered(*fake_runs.FAKES):
            put(fake_runs.run(0).spec)
            assert len(list(store.records())) == 2
        assert [record.spec.method for record in Store(tmp_path).records()] == ["constant"]
        (problem,) = Store(tmp_path).verify()
        assert "function must be one of" in str(problem) and "not 'noise'" in str(problem)
        assert len(list(tmp_path.rglob("*.json"))) == 2


class TestIdentity:
    @pytest.mark.parametrize(
        ("method", "one", "other"),
        [
            ("constant", {"lr": 1}, {"lr": 1.0}),
            ("marthe", {"lr": 0.1, "mu": 1}, {"lr": 0.1, "mu": 1.0}),
            ("marthe", {"lr": 0.0}, {"lr": -0.0}),
            ("autolr", {"saturation": 100.0}, {"saturation": 100}),
            ("autolr", {"variant": "next step"}, {"otherwise": "next step"}),
        ],
    )
    def test_what_is_the_same_has_one(self, method: str, one: dict[str, Any], other: dict[str, Any]) -> None:
        a, b = run(method, settings=one), run(method, settings=other)
        assert a == b and a.hash == b.hash and str(a.canonical()) == str(b.canonical())

    def test_faults_and_what_is_kept_have_one_order(self) -> None:
        def published(faults: str) -> RunSpec:
            return run("marthe_as_published", "published", settings={"lr": 0.1, "faults": faults})

        assert published("outer_on_test,frozen_lr").get("faults") == "frozen_lr,outer_on_test"
        with pytest.raises(SpecError, match="faults of marthe_as_published in published must be any of"):
            published("frozen_lr,frozen_lr")
        orders = (("test_accuracy", "validation_accuracy"), ("validation_accuracy", "test_accuracy") * 2)
        kept = [run(keep=keep, test_images=3) for keep in orders]
        assert kept[0] == kept[1]

    def test_a_default_that_is_given_is_part_of_it(self) -> None:
        """As it is in hundreds of records."""
        assert run(settings={"lr": 0.1, "warmup": 0.0}).hash != run(settings={"lr": 0.1}).hash

    def test_a_name_is_read_through_any_other(self) -> None:
        spec = run("autolr", settings={"otherwise": "next step"})
        assert spec.get("variant") == spec.get("otherwise") == "next step"
        assert run("autolr").get("variant") is None
        with pytest.raises(SpecError, match="otherwise of autolr in training is given twice"):
            run("autolr", settings={"otherwise": "next step", "variant": "next step"})
        old = replace(registry.METHODS["marthe"], also=("mirthe",))
        with registry.registered(old):
            assert run("mirthe") == run("marthe") and run("mirthe").method == "marthe"
            with pytest.raises(SpecError, match=r"must be one of (?!.*mirthe.*, not)"):
                run("marthee")

    @pytest.mark.parametrize(
        ("spec", "message"),
        [
            (partial(run, "hd", settings={"outer_batch": 10}), "hd in training has no setting 'outer_batch'"),
            (partial(run, "autolr", settings={"outer_batch": 10}), "autolr in training has no setting 'out"),
            (partial(run, "constant", settings={"outer_batch": 10}), "has no setting 'outer_batch'"),
            (partial(run, "rtho", settings={"mu": 0.9}), "rtho in training has no setting 'mu'"),
            (
                partial(run, "marthe", "hypergradient_error", settings={"outer_batch": 10}),
                "marthe in hypergradient_error has no setting 'outer_batch'",
            ),
            (partial(run, settings={"lr": 0.1, "start": 0.5}), "start .* changes nothing without warmup"),
            (
                partial(run, settings={"lr": 0.1, "start": 0.5, "warmup": 0.0}),
                "start .* changes nothing without warmup",
            ),
            (
                partial(run, "staircase", settings={"milestones": 0.5, "explore": 0.5}),
                "milestones .* changes nothing beside explore",
            ),
            (partial(run, "cosine", settings={"momentum_low": 0.8}), "nothing without momentum_high"),
            (partial(run, "marthe", settings={"alpha": 1e-6}), "nothing without hyper_lr='adaptive'"),
            (
                partial(run, "marthe", settings={"adapt_rule": "adatune", "mu": 0.9}),
                "nothing without hyper_lr='adaptive' or mu='adaptive'",
            ),
            (partial(run, optimizer_settings=(("nesterov", True),)), "nesterov of sgd changes nothing with"),
            (partial(run, source="a" * 64), "constant in training starts from no other run"),
            (partial(run, observations=17), "observations must be at most 16, for 16 steps, not 17"),
            (partial(run, steps=1000, observations=251), "observations must be at most 250, for 1000 steps"),
            (partial(run, observations=0), "observations must be a whole number of at least 1"),
            (partial(run, keep=("test_accuracy",)), "go together"),
            (partial(run, test_images=5), "go together"),
            (partial(run, keep=("test_accuracy",), test_images=61), "at most the task's 60 test images"),
            (
                partial(run, function="generalisation", keep=("validation_accuracy",)),
                "generalisation keeps validation_accuracy in any case",
            ),
            (partial(run, function="quadratic_fit", observations=8), "observes nothing on its way"),
            (partial(run, "hd", "locality", keep=("validation_accuracy",)), "observes nothing on its way"),
        ],
    )
    def test_what_changes_nothing_is_refused(self, spec: partial[RunSpec], message: str) -> None:
        with pytest.raises(SpecError, match=message):
            spec()

    def test_every_committed_record_keeps_its_own(self) -> None:
        paths = list(stores_for("desk").paths())
        assert len(paths) > 2500
        for path in paths:
            body = json.loads(path.read_bytes())
            spec = RunSpec.from_dict(body["spec"])
            assert spec.hash == body["spec_hash"] and spec.canonical() == body["spec"], path.name
            assert replace(spec) == spec


class TestTable:
    def test_every_run_function_is_in_it(self) -> None:
        """None is forgotten: all modules of the room are imported before the first question."""
        room = Path(registry.__file__).parent
        texts = [path.read_text() for path in room.glob("*.py")]
        written = {name for text in texts for name in re.findall(r'@run_function\(\s*"(\w+)"', text)}
        assert written == set(registry.FUNCTIONS) and len(written) == 10

    def test_what_is_registered_for_a_time_is_gone_after_it(self) -> None:
        before = [dict(table) for table in registry.TABLES]
        with registry.registered(*fake_runs.FAKES):
            assert registry.function("replay").run is fake_runs.replay
            assert {e.name for e in registry.foreign()} >= {"noise", "pair", "replay"}
            assert fake_runs.run(0).spec.method == "noise"
        assert [dict(table) for table in registry.TABLES] == before and not registry.foreign()
        with pytest.raises(SpecError, match="function must be one of"):
            fake_runs.run(0)

    def test_a_name_that_is_taken_is_refused(self) -> None:
        with pytest.raises(ValueError, match="there is a method 'marthe' already"):
            registry.add(Method("marthe", "another"))
        with pytest.raises(ValueError, match="there is a function 'training' already"):
            registry.run_function("training", methods=())(fake_runs.noise)

    @pytest.mark.parametrize(
        "name", [m.name for _, m in PAIRS if _.name == "training" and m.name != "replay"]
    )
    def test_a_method_leaves_what_is_declared(self, name: str, tmp_path: Path) -> None:
        method = registry.METHODS[name]
        needed = {s.name: good(s) for s in method.settings if s.default is REQUIRED} | {"lr": 0.1}
        needed |= {"warmup": 0.25} if name == "inverse_sqrt" else {}
        needed |= {"window": 4, "superbatch": 2} if name == "autolr" else {}
        outcome = made(run(name, settings=needed), tmp_path)
        common = {"lr", "train_loss", "hypergradient", "validation_loss"}
        samples = {s for s in outcome.series if s.startswith("sample_") and s[-1].isdigit()}
        assert set(outcome.series) - samples == common | set(method.series)
        assert set(outcome.metrics) == {*registry.FUNCTIONS["training"].metrics, *method.metrics}
        if method.cost:
            counted = outcome.cost["plain_steps"] / 16
            cost = method.cost(run(name, settings=needed))
            assert cost == pytest.approx(counted, rel=0.15) or (name == "autolr" and counted < cost < 2)


class TestDeciding:
    """What is declared; `test_deciding` holds it to the code that runs."""

    def test_they_exist(self) -> None:
        every = {
            p for f, m in PAIRS for o in registry.OPTIMIZERS for p in registry.decides(f.name, m.name, o)
        }
        every |= {p for name in models.MODELS for p in models.decides(name)}
        assert all((files.PACKAGE / path).is_file() for path in every)
        assert models.decides("mlp_bn") == ("tasks/mlp.py",)

    def test_each_has_its_own_alone(self) -> None:
        def of(method: str) -> set[str]:
            return set(registry.decides("training", method, "sgd"))

        assert "tuners/rtho.py" in of("rtho") - of("marthe") and "rules/sgd.py" in of("marthe")
        assert not any(p.startswith(("rules/", "tuners/autolr")) for p in of("constant"))
        assert "training/methods.py" not in of("marthe") and "training/registry.py" not in of("marthe")

    def test_a_default_is_part_of_what_decides(self) -> None:
        before = registry.declared("training", "marthe", "sgd").text
        mu, *others = registry.METHODS["marthe"].settings
        with registry.registered(
            replace(registry.METHODS["marthe"], settings=(replace(mu, default=0.5), *others))
        ):
            assert registry.declared("training", "marthe", "sgd").text != before
        with registry.registered(replace(registry.METHODS["marthe"], label="another", colour="red")):
            assert registry.declared("training", "marthe", "sgd").text == before


def made(spec: RunSpec, folder: Path) -> Outcome:
    with one_thread():
        context = Context("cpu", Store(folder), Checkpoint(folder / "kept.pt", "test"))
        return registry.function(spec.function).run(spec, context)


def series(outcome: Outcome, name: str) -> tuple[list[int], list[float]]:
    found = outcome.series[name]
    assert isinstance(found, Series) and found.steps is not None
    return list(found.steps), [float(v) for v in found.values]


class TestObservations:
    def test_the_default_is_what_it_always_was(self) -> None:
        for steps in range(1, 700):
            every = max(4, steps // 16)
            old = {t + 1 for t in range(steps) if (t + 1) % every == 0 or t + 1 == steps}
            assert observed_steps(steps) == old

    @pytest.mark.parametrize(("steps", "count"), [(5, 5), (7, 3), (100, 17), (512, 100), (3001, 250)])
    def test_others_are_as_many_as_asked_evenly_spaced(self, steps: int, count: int) -> None:
        at = sorted(observed_steps(steps, count))
        gaps = [b - a for a, b in zip([0, *at], at, strict=False)]
        assert len(at) == count and at[-1] == steps and max(gaps) - min(gaps) <= 1

    @pytest.mark.parametrize("method", ["constant", "marthe", "autolr"])
    def test_a_curve_of_100_points_is_kept_and_changes_nothing_else(
        self, method: str, tmp_path: Path
    ) -> None:
        settings: dict[str, Any] = {"lr": 0.1}
        settings |= {"autolr": {"explore_steps": 50, "window": 50, "superbatch": 2}}.get(method, {})
        plain = run(method, steps=200, settings=settings)
        asked = replace(
            plain, observations=100, keep=("validation_accuracy", "test_accuracy"), test_images=25
        )
        assert asked.hash != plain.hash
        before, after = made(plain, tmp_path / "a"), made(asked, tmp_path / "b")
        assert after.metrics == before.metrics and list(after.series["lr"]) == list(before.series["lr"])  # type: ignore[arg-type]
        assert after.cost["plain_steps"] == before.cost["plain_steps"], "a look at a curve is no cost"
        record = Record.of(asked, after, code="c" * 64, device="cpu")
        read = Record.from_json(record.to_json())
        assert read.spec == asked and len(read.to_json()) <= LIMIT
        for name in ("validation_loss", "validation_accuracy", "test_accuracy"):
            steps, values = read.series(name)
            assert list(steps) == list(range(2, 201, 2)) and len(values) == 100
        assert read.series("validation_accuracy")[1][-1] == after.metrics["validation_accuracy"]
        assert set(before.series) | set(asked.keep) == set(after.series)

    def test_test_accuracy_is_of_the_first_images_and_of_all_at_the_end(self, tmp_path: Path) -> None:
        asked = run(settings={"lr": 0.2}, keep=("test_accuracy",), test_images=25, steps=9, observations=3)
        outcome = made(asked, tmp_path)
        steps, values = series(outcome, "test_accuracy")
        assert steps == [3, 6, 9]
        task, net = made_setting(asked, "cpu")
        x, y = task.test()
        optimizer = torch.optim.SGD(net.parameters(), lr=0.2)
        for t in range(9):
            images, labels = task.batch(0, t)
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(net(images), labels).backward()
            optimizer.step()
        assert values[-1] == evaluate(net, (x[:25], y[:25]))[1]
        assert outcome.metrics["test_accuracy"] == evaluate(net, (x, y))[1] != values[-1]

    @pytest.mark.parametrize("detail", ["full", "summary"])
    def test_a_long_schedule_costs_no_point_of_a_curve(self, detail: str) -> None:
        """lr alone is larger than a record may be: other series are thinned, what was asked for is not."""
        asked = run(steps=4000, observations=250, keep=("validation_accuracy",), detail=detail)
        at = sorted(observed_steps(4000, 250))
        long = [1 / (k + 3) for k in range(4000)]
        curve = Series([math.sin(k) for k in at], at, whole=True)
        outcome = Outcome(
            "finished",
            {"lr": long, "train_loss": long, "validation_accuracy": curve, "validation_loss": curve},
        )
        record = Record.of(asked, outcome, code="c" * 64, device="cpu")
        assert (
            list(record.series("validation_accuracy")[0]) == list(record.series("validation_loss")[0]) == at
        )
        assert len(record.series("train_loss")[1]) == (32 if detail == "full" else 64)

    def test_every_function_that_observes_does_what_it_is_asked(self, tmp_path: Path) -> None:
        settings = {"lr": 0.1, "outer_batch": 20}
        for function, method, given in (
            ("published", "marthe_as_published", settings),
            ("lean", "marthe", settings),
            ("lrs_opt", "lrs_opt", {"lr": 0.1, "outer_steps": 1}),
            ("generalisation", "constant", {"lr": 0.1}),
        ):
            asked = run(
                method,
                function,
                settings=given,
                observations=5,
                keep=("test_accuracy",),
                test_images=30,
                steps=10,
            )
            outcome = made(asked, tmp_path / function)
            assert series(outcome, "test_accuracy")[0] == [2, 4, 6, 8, 10]
            observed = registry.FUNCTIONS[function].observes
            assert observed is not None and all(len(series(outcome, n)[1]) == 5 for n in observed)
