"""Every run function by its name: what `RunSpec.function` may be."""

from __future__ import annotations

from adatune_lite.training import derivatives, functions, generalisation, probes, range_test

RUN_FUNCTIONS = {
    **functions.RUN_FUNCTIONS,
    **derivatives.RUN_FUNCTIONS,
    **generalisation.RUN_FUNCTIONS,
    **probes.RUN_FUNCTIONS,
    **range_test.RUN_FUNCTIONS,
}
SIDE_BY_SIDE = functions.SIDE_BY_SIDE
