"""The table of methods and optimizers: name, label, settings, what each needs, leaves and costs.

A new method is an entry here; `making` and the tuner's own file hold the code. The entries decide no numbers
but for the defaults of settings (see `registry`), and a test holds those to the tuners' own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch

from adatune_lite.plotting import BLACK, BLUE, DARK, GREEN, GREY, LIGHT, ORANGE, PINK
from adatune_lite.schedules import OPTIONS
from adatune_lite.training import making
from adatune_lite.training.derivatives import OUTER_ON_TEST, PUBLISHED, RATE_PER_TENSOR, adatune
from adatune_lite.training.registry import RULES, Method, Optimizer, Setting, add
from adatune_lite.training.spec import RunSpec
from adatune_lite.tuners import HD, MARTHE, RTHO
from adatune_lite.tuners.adaptive import RULES as ADAPT_RULES
from adatune_lite.tuners.as_published import FAULTS, RatePerTensorHD
from adatune_lite.tuners.autolr.fit import REACH, SPREAD
from adatune_lite.tuners.autolr.log import DECISIONS, SERIES
from adatune_lite.tuners.autolr.variants import OTHERWISE


def _beside(name: str) -> tuple[tuple[str, None], ...]:
    """Needs of a setting that counts only beside another one, of any value but 0 and False."""
    return ((name, None),)


DECAY = Setting("weight_decay", float, "decay of the weights", 0.0, least=0)
MAXIMIZE = Setting("maximize", bool, "whether the loss is raised", False)
EPS = Setting("eps", float, "what is added to the root of the second moment", 1e-8, least=0)
MOMENTUM = Setting("momentum", float, "share of the last direction that is kept", 0.0, least=0)
ADAM = (EPS, Setting("amsgrad", bool, "whether v is the largest so far", False), MAXIMIZE)
SGD = (
    MOMENTUM,
    Setting("dampening", float, "what the gradient lacks in it", 0.0, needs=_beside("momentum")),
    DECAY,
    Setting("nesterov", bool, "whether the momentum is Nesterov's", False, needs=_beside("momentum")),
    MAXIMIZE,
)
RMSPROP = (
    Setting("alpha", float, "share of the second moment that is kept", 0.99, least=0, below=1),
    *(EPS, DECAY, MOMENTUM),
    Setting("centered", bool, "whether the mean's square is taken off the second moment", False),
    MAXIMIZE,
)

add(
    Optimizer("sgd", "SGD", torch.optim.SGD, SGD, decides=("rules/sgd.py",)),
    Optimizer("adam", "Adam", torch.optim.Adam, (DECAY, *ADAM), decides=("rules/adam.py",)),
    Optimizer(
        "adamw", "AdamW", torch.optim.AdamW, (replace(DECAY, default=0.01), *ADAM), decides=("rules/adam.py",)
    ),
    Optimizer("rmsprop", "RMSprop", torch.optim.RMSprop, RMSPROP, decides=("rules/rmsprop.py",)),
)

SCHEDULE = (
    Setting("lr", float, "the highest rate", above=0),
    Setting("warmup", float, "share of the steps in which the rate first rises to lr", 0.0, least=0, below=1),
    Setting("start", float, "rate at its beginning, over lr", 0.0, least=0, below=1, needs=_beside("warmup")),
    Setting(
        "momentum_low",
        float,
        "momentum at the highest rate, where it mirrors the schedule",
        None,
        least=0,
        below=1,
        needs=_beside("momentum_high"),
    ),
    Setting(
        "momentum_high",
        float,
        "momentum up to the first rate, where it mirrors the schedule",
        None,
        least=0,
        below=1,
        needs=_beside("momentum_low"),
    ),
)


def _share(name: str, about: str) -> Setting:
    return Setting(name, float, about, above=0, most=1)


OPTION = {
    option.name: option
    for option in (
        _share("final", "the last rate, over lr or over the low one"),
        _share("factor", "what each drop multiplies the rate by"),
        Setting(
            "milestones",
            float,
            "share of the steps before the one drop (two, at one and two thirds)",
            least=0,
            most=1,
            without="explore",
        ),
        _share("period", "share of the steps of one period"),
        Setting("power", float, "power of the fall", above=0),
        Setting("growth", int, "how many times longer each period is than the last", least=1),
        _share("low", "the low rate, over lr"),
        Setting("floor", float, "the lowest rate, over lr", least=0, most=1),
        _share("ramp", "share of the steps of each ramp"),
        _share("peak", "share of the steps at the highest rate"),
    )
}
EXPLORE = Setting(
    "explore",
    float,
    "share at the full rate; the rest in two halves, a drop before each",
    None,
    least=0,
    most=1,
)
LABELS = {
    "one_cycle": "one-cycle",
    "one_cycle_linear": "one-cycle, linear",
    "constant": "constant rate",
    "knee": "Knee",
    "sgdr": "SGDR",
    "inverse_sqrt": "inverse square root",
}
COLOURS = {
    "constant": GREY,
    "exponential": "#8C6D31",
    "staircase": "#56B4E9",
    "cosine": "#B8860B",
    "one_cycle": "#6A51A3",
}


def _schedule(name: str) -> Method:
    options = [
        replace(OPTION[option], default=None if isinstance(default, Sequence) else default)
        for option, default in OPTIONS[name].items()
    ]
    return Method(
        name,
        LABELS.get(name, name),
        (*SCHEDULE, *options, *([EXPLORE] if name == "staircase" else [])),
        making.scheduled,
        kind="schedule",
        colour=COLOURS.get(name, DARK),
        decides=("schedules.py", "engine/hypergradient.py", "tuners/classical.py"),
    )


add(*map(_schedule, OPTIONS))
add(
    Method(
        "replay",
        "replay of a learned schedule",
        make=making.replay,
        source=True,
        decides=("engine/hypergradient.py",),
    )
)

START = Setting("lr", float, "the rate of the first step", least=0)
LR_MIN = Setting("lr_min", float, "lowest rate", 0.0, least=0)
CLIPS = (
    Setting("clip_grad_value", float, "bound of the gradient's entries (none)", None, above=0),
    Setting("clip_grad_norm", float, "bound of the gradient's norm (none)", None, above=0),
)
ADAPTIVE = (("hyper_lr", "adaptive"),)
HYPER_LR = Setting("hyper_lr", float, "step of the rate against Delta", 1e-6, least=0, words=("adaptive",))
MOVES = (
    Setting("alpha", float, "step of an adaptive hyper_lr", None, least=0, needs=ADAPTIVE),
    LR_MIN,
    Setting("lr_max", float, "highest rate (none)", None, above=0),
    Setting("clip_hypergradient", float, "bound of |Delta| in the step of the rate (none)", None, above=0),
    *CLIPS,
    Setting("every", int, "steps from one move of the rate to the next", 1, least=1),
)
ADAPT_RULE = Setting(
    "adapt_rule",
    str,
    "whose rules adapt",
    "marthe_tf",
    words=ADAPT_RULES,
    needs=(*ADAPTIVE, ("mu", "adaptive")),
)
HYPER = (START, HYPER_LR, ADAPT_RULE, *MOVES)
MULTIPLICATIVE = Setting("multiplicative", bool, "whether the rate moves relative to itself", False)
OUTER = (
    Setting("outer_batch", int, "images of the outer loss at a step (the whole part)", None, least=1),
    Setting(
        "outer_batchnorm", str, "whose statistics the outer loss takes", "batch", words=("batch", "running")
    ),
)
PRODUCT_EVERY = Setting("product_every", int, "steps from one product to the next", 1, least=1)
MU = Setting("mu", float, "discount of the past", 0.99, least=0, most=1, words=("adaptive",))

FORWARD = (
    *RULES,
    *(f"tuners/{name}.py" for name in ("adaptive", "arguments", "hypergradient", "snapshot", "tuned")),
)
"""What decides the forward hypergradient."""


def _with_outer(products: float) -> Callable[[RunSpec], float]:
    """Cost of a step with an outer gradient and so many products."""

    def cost(spec: RunSpec) -> float:
        # Not every function takes that setting.
        images = float(dict(spec.settings).get("outer_batch") or spec.task.validation)
        return 1.0 + images / spec.task.batch + 2.0 * products

    return cost


add(
    Method(
        "hd",
        "HD (training gradient)",
        (*HYPER, MULTIPLICATIVE),
        making.tuned(HD),
        kind="tuner",
        colour=PINK,
        marker="v",
        decides=(*FORWARD, "tuners/hd.py", "rules/sgd.py"),
    ),
    Method(
        "hd_validation",
        "HD (validation gradient)",
        (*HYPER, MULTIPLICATIVE, *OUTER),
        making.tuned(HD),
        kind="tuner",
        colour=GREEN,
        marker="^",
        outer="gradient",
        cost=_with_outer(0),
        decides=(*FORWARD, "tuners/hd.py", "rules/sgd.py"),
    ),
    Method(
        "rtho",
        "RTHO",
        (*HYPER, *OUTER, PRODUCT_EVERY),
        making.tuned(RTHO),
        kind="tuner",
        colour=BLUE,
        marker="s",
        outer="gradient",
        cost=_with_outer(1),
        decides=(*FORWARD, "tuners/rtho.py"),
    ),
    Method(
        "marthe",
        "MARTHE",
        (MU, *HYPER, *OUTER, PRODUCT_EVERY),
        making.tuned(MARTHE),
        kind="tuner",
        colour=ORANGE,
        marker="o",
        outer="gradient",
        cost=_with_outer(1),
        decides=FORWARD,
    ),
)


def _looking(spec: RunSpec) -> float:
    """Cost of a step of AutoLR, were every window to end with a fit."""
    return 1.0 + spec.get("samples") * spec.get("superbatch") / 3 / spec.get("window")


PART: dict[str, Any] = {"above": 0, "below": 1}
add(
    Method(
        "autolr",
        "AutoLR",
        (
            Setting("lr", float, "the seed rate", above=0),
            Setting("explore_steps", int, "first steps, in which the rate only rises", least=0),
            Setting("window", int, "steps between two decisions", 1000, least=1),
            Setting("samples", int, "losses of a fit, an odd number", 5, least=3),
            Setting("superbatch", int, "mini-batches of a loss", 100, least=1),
            Setting(
                "saturation",
                float,
                "how much the loss must have slowed before the rate may fall (False: not at all)",
                100.0,
                least=1,
                words=(False,),
                whole_as_int=True,
            ),
            Setting(
                "epsilon_threshold",
                float,
                "r of |eps|^3 < r L (False: no trust bound)",
                1e-3,
                above=0,
                words=(False,),
            ),
            LR_MIN,
            Setting("rollback", bool, "whether a change that does harm is taken back", True),
            Setting("reach", float, "most that a decision changes the rate, over the rate", REACH, **PART),
            Setting("spread", float, "half-width of the samples, over the rate", SPREAD, **PART),
            *CLIPS,
            Setting(
                "otherwise",
                str,
                "what the paper leaves open and is decided another way",
                None,
                words=tuple(OTHERWISE),
                also=("variant",),
            ),
        ),
        making.autolr,
        kind="tuner",
        colour="#882255",
        outer="look",
        cost=_looking,
        series=SERIES,
        metrics=(*DECISIONS, "fits"),
        decides=(
            *(f"tuners/autolr/{name}.py" for name in ("checks", "fit", "log", "tuner", "variants")),
            "tuners/snapshot.py",
        ),
    ),
    Method(
        "plateau",
        "ReduceLROnPlateau",
        (
            START,
            Setting("every", int, "steps from one look to the next (an epoch)", None, least=1),
            Setting("factor", float, "what a drop multiplies the rate by", 0.1, **PART),
            Setting("patience", int, "looks without gain before a drop", 10, least=0),
            Setting("threshold", float, "gain that counts", 1e-4, least=0),
            Setting("threshold_mode", str, "whether that is a part of the loss", "rel", words=("rel", "abs")),
            Setting("cooldown", int, "looks after a drop that are not counted", 0, least=0),
            Setting(
                "mode", str, "whether what is looked at should fall or rise", "min", words=("min", "max")
            ),
            LR_MIN,
            *CLIPS,
        ),
        making.plateau,
        kind="tuner",
        outer="look",
        decides=("tuners/classical.py",),
    ),
)


def _may_fall_below_zero(spec: RunSpec) -> bool:
    return "no_projection" in spec.get("faults").split(",")


add(
    Method(
        PUBLISHED,
        "AdaTune's MARTHE",
        (
            replace(MU, default=0.99999),
            START,
            replace(HYPER_LR, default=1e-8),
            *MOVES,
            *OUTER,
            PRODUCT_EVERY,
            Setting(
                "faults",
                str,
                "what differs from the definition",
                "",
                words=(*FAULTS, OUTER_ON_TEST),
                listed=True,
            ),
        ),
        adatune,
        colour=ORANGE,
        outer="gradient",
        cost=_with_outer(1),
        below_zero=_may_fall_below_zero,
        decides=(*FORWARD, "tuners/as_published.py", "tuners/hd.py", "rules/sgd.py", "rules/adam.py"),
    ),
    Method(
        RATE_PER_TENSOR,
        "AdaTune's HD for Adam",
        (START, replace(HYPER_LR, words=())),
        making.tuned(RatePerTensorHD),
        colour=PINK,
        decides=(*FORWARD, "tuners/as_published.py", "tuners/hd.py", "rules/sgd.py"),
    ),
    Method(
        "reverse",
        "reverse sweep",
        (START,),
        colour=BLACK,
        marker="*",
        outer="gradient",
        decides=(*RULES, "engine/hypergradient.py", "training/lrs_opt.py"),
    ),
    Method("lr_range", "learning-rate range test", colour=LIGHT),
    Method(
        "lrs_opt",
        "LRS-OPT (offline)",
        (replace(START, default=0.01, about="the rate of the start, where that is constant"),),
        colour=BLACK,
        marker="*",
    ),
)
