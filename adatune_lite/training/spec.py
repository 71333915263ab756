"""A run is a value: the frozen description of one training, with a canonical form and a hash."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from adatune_lite.tasks.spec import Pairs, SpecError, TaskSpec, Value, build, canonical, one_of, pairs, whole


@dataclass(frozen=True)
class RunSpec:
    """One run: the same spec gives the same record on the same kind of device."""

    function: str
    """The run function: "training" (a tuner or a schedule along one training) or "lrs_opt"."""
    task: TaskSpec
    method: str
    """Tuner or schedule, for example "marthe", "constant", "lrs_opt"."""
    steps: int
    """Optimizer steps T."""
    seed: int
    """Initial weights and batch order."""
    settings: Pairs = ()
    """Settings of the method: lr, mu, hyper_lr, outer_steps ..."""
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

    def __post_init__(self) -> None:
        object.__setattr__(self, "settings", pairs(self.settings))
        object.__setattr__(self, "optimizer_settings", pairs(self.optimizer_settings))
        whole("steps", self.steps, 1)
        whole("seed", self.seed, 0)
        for name, allowed in (("precision", ("float32", "float64")), ("detail", ("full", "summary"))):
            one_of(name, getattr(self, name), allowed)
        for name, value in (*self.settings, *self.optimizer_settings):
            if isinstance(value, float) and not math.isfinite(value):
                raise SpecError(f"setting {name} must be finite, not {value}")

    def get(self, name: str, default: Value | None = None) -> Any:
        """One setting of the method."""
        value = dict(self.settings).get(name, default)
        if value is None:
            raise SpecError(f"the method {self.method!r} needs the setting {name!r}")
        return value

    def canonical(self) -> dict[str, Any]:
        """Plain data without the fields that hold their default: what is stored and hashed."""
        return canonical(self)

    @property
    def hash(self) -> str:
        """Hexadecimal SHA-256 of the canonical form."""
        text = json.dumps(self.canonical(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> RunSpec:
        """The inverse of `canonical`; unknown names are refused."""
        plain = dict(data)
        if isinstance(plain.get("task"), Mapping):
            plain["task"] = build(TaskSpec, plain["task"])
        return build(cls, plain)
