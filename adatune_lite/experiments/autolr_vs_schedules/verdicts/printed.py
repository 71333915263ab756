"""The printed accuracies of Tables 4, 9 and 12 to 14, and the runs of experiment 06 held against them."""

from __future__ import annotations

from adatune_lite.claims import kinds
from adatune_lite.experiments.autolr_records import accuracy
from adatune_lite.experiments.autolr_vs_schedules.groups import DEFAULT
from adatune_lite.report.groups import Key

_OF_CELLS = (
    *("autolr.t4.sgd.baseline", "autolr.t4.momentum.baseline", "autolr.t4.adam.baseline"),
    *("autolr.t4.sgd.autolr", "autolr.t4.momentum.autolr", "autolr.t4.adam.autolr"),
    *("autolr.t13.sgd.baseline", "autolr.t13.momentum.baseline", "autolr.t13.adam.baseline"),
    *("autolr.t13.sgd.autolr", "autolr.t13.momentum.autolr", "autolr.t13.adam.autolr"),
    *("autolr.t14.sgd.baseline", "autolr.t14.momentum.baseline", "autolr.t14.adam.baseline"),
    *("autolr.t14.sgd.autolr", "autolr.t14.momentum.autolr", "autolr.t14.adam.autolr"),
)
"""Table, optimizer and side, which are also the key of the group."""
PRINTED: dict[str, Key] = {claim_id: tuple(claim_id.split(".")[1:]) for claim_id in _OF_CELLS} | {
    "autolr.t12.seedlr_0p05": ("seed rates", 0.5),
    "autolr.t12.seedlr_0p075": ("seed rates", 0.75),
    "autolr.t12.seedlr_0p1": ("seed rates", 1.0),
    "autolr.t12.seedlr_0p125": ("seed rates", 1.25),
    "autolr.t12.seedlr_0p15": ("seed rates", 1.5),
    "autolr.t9.trapezoid": ("table 7", "trapezoid"),
    "autolr.t9.onecycle_default": ("table 7", DEFAULT),
    "autolr.t9.onecycle_tuned": ("table 7", "one_cycle_linear"),
    "autolr.t9.cosine": ("table 7", "cosine"),
    "autolr.t9.linear": ("table 7", "linear"),
}
"""Accuracies, and the groups whose runs are held against them."""
TABLE_7 = {str(key[1]): claim_id for claim_id, key in PRINTED.items() if key[0] == "table 7"} | {
    "autolr": "autolr.t4.momentum.autolr",
    "staircase": "autolr.t4.momentum.baseline",
}
"""The claims about the seven schedules of Table 7, which Table 9 has too but for the staircase."""
OF: dict[Key, str] = {key: claim_id for claim_id, key in PRINTED.items()}
OF |= {("table 7", name): claim_id for name, claim_id in TABLE_7.items()}
"""The claim about what is printed of a group."""

for _claim, _key in PRINTED.items():
    kinds.absolute(_claim, _key, accuracy)
