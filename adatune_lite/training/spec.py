"""A run is a value: the frozen description of one training, with a canonical form and a hash."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from adatune_lite.tasks.spec import (
    Pairs,
    SpecError,
    TaskSpec,
    Value,
    build,
    canonical,
    check_kinds,
    is_whole,
    one_of,
    shown,
    whole,
)
from adatune_lite.training import registry
from adatune_lite.training.loop import OBSERVATIONS
from adatune_lite.training.registry import REQUIRED, Declared

MOST_OBSERVATIONS = 250
"""A record keeps every one."""
KEPT = ("validation_accuracy", "test_accuracy")
"""Series that a spec may ask for, besides the validation loss."""
PRECISIONS, DETAILS = ("float32", "float64"), ("full", "summary")


@dataclass(frozen=True)
class RunSpec:
    """One run: the same spec gives the same record on the same kind of device."""

    function: str
    """A run function of `training.registry`, for example "training" or "lrs_opt"."""
    task: TaskSpec
    method: str
    """A method of `training.methods`, for example "marthe" or "constant"."""
    steps: int
    """Optimizer steps T."""
    seed: int
    """Initial weights and batch order."""
    settings: Pairs = ()
    """Settings of the method and of the run function: lr, mu, hyper_lr, outer_steps ..."""
    optimizer: str = "sgd"
    optimizer_settings: Pairs = ()
    """Options of the optimizer other than the rate."""
    precision: str = "float32"
    detail: str = "full"
    """"full" keeps the schedule step by step; "summary" thins every series (draws of a search)."""
    source: str = ""
    """Hash of the spec whose learned schedule this run starts from or replays."""
    source_digest: str = ""
    """Digest of that schedule's digits: a recomputed source is another run."""
    observations: int = OBSERVATIONS
    """How often the training looks at what it observes, evenly spaced; 16: every max(4, steps // 16) steps
    and at the end."""
    keep: tuple[str, ...] = ()
    """Series observed besides those of the run function: "validation_accuracy", "test_accuracy"."""
    test_images: int = 0
    """That series is of so many images, the first of the test part; the metrics at the end are of all."""

    def __post_init__(self) -> None:
        check_kinds(self)
        declared = registry.declared(self.function, self.method, self.optimizer)
        put = object.__setattr__
        put(self, "method", declared.method.name)
        put(self, "settings", declared.settings.checked(self.settings))
        put(self, "optimizer_settings", declared.optimizer_settings.checked(self.optimizer_settings))
        for settings in (self.settings, self.optimizer_settings):
            for name, value in settings:
                if type(value) is int and not is_whole(value):
                    raise SpecError(f"{name} must be a number of 64 bits, not {shown(value)}")
        whole("steps", self.steps, 1)
        whole("seed", self.seed, 0)
        one_of("precision", self.precision, PRECISIONS)
        one_of("detail", self.detail, DETAILS)
        if self.source or self.source_digest:
            self._check_source(declared)
        # Nearly all specs leave these alone.
        if (self.observations, self.keep, self.test_images) != (OBSERVATIONS, (), 0):
            self._check_observations(declared)

    def _check_source(self, declared: Declared) -> None:
        if not (declared.method.source or declared.function.source):
            raise SpecError(
                f"{declared.settings.whose} starts from no other run: leave out source and source_digest"
            )

    def _check_observations(self, declared: Declared) -> None:
        whole("observations", self.observations, 1)
        whole("test_images", self.test_images, 0)
        object.__setattr__(self, "keep", tuple(sorted(set(self.keep))))
        always = declared.function.observes
        if always is None:
            raise SpecError(
                f"{self.function} observes nothing on its way: leave out observations, keep and test_images"
            )
        for name in self.keep:
            one_of("keep", name, KEPT)
            if name in always:
                raise SpecError(f"{self.function} keeps {name} in any case: leave it out of keep")
        most = min(self.steps, MOST_OBSERVATIONS)
        if self.observations != OBSERVATIONS and self.observations > most:
            raise SpecError(
                f"observations must be at most {most}, for {self.steps} steps, not {self.observations}"
            )
        if ("test_accuracy" in self.keep) != (self.test_images > 0):
            raise SpecError("keep test_accuracy and test_images, its number of images, go together")
        if self.test_images > self.task.test:
            raise SpecError(
                f"test_images must be at most the task's {self.task.test} test images, not {self.test_images}"
            )

    def get(self, name: str, default: Value | None = None) -> Any:
        """One setting: as given, else `default`, else as it is declared.

        Raises SpecError where that is required, or there is no such setting.
        """
        for given, value in self.settings:
            if given == name:
                return value
        if default is not None:
            return default
        declared = registry.declared(self.function, self.method, self.optimizer)
        setting = declared.settings.by_name.get(name)
        if setting is None:
            raise SpecError(f"{declared.settings.whose} has no setting {name!r}")
        if setting.name != name:
            return self.get(setting.name)
        if setting.default is REQUIRED:
            owner = "method" if setting in declared.method.settings else "run function"
            who = self.method if owner == "method" else self.function
            raise SpecError(f"the {owner} {who!r} needs the setting {name!r}: {setting.about}")
        return setting.default

    def canonical(self) -> dict[str, Any]:
        """Plain data without the fields that hold their default: what is stored and hashed."""
        return canonical(self)

    @cached_property
    def hash(self) -> str:
        """Hexadecimal SHA-256 of the canonical form."""
        text = json.dumps(self.canonical(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> RunSpec:
        """The inverse of `canonical`; unknown names and other types are refused."""
        if not isinstance(data, dict | Mapping):  # The first is asked faster.
            raise SpecError(f"a RunSpec is named values, not {shown(data)}")
        plain = dict(data)
        if isinstance(task := plain.get("task"), Mapping):
            # Thousands of runs are of a few tasks. As text, since 1 and 1.0 are equal.
            key = repr(task)
            if (known := _TASKS.get(key)) is None:
                known = _TASKS[key] = build(TaskSpec, task)
            plain["task"] = known
        return build(cls, plain)


_TASKS: dict[str, TaskSpec] = {}
"""Those of records that were read, by their canonical form."""
