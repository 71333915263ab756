"""The freeze as tests, one for each experiment and one for the site: temporary, see the package."""

from __future__ import annotations

import pytest

from .expectation import PARTS, compute, differences, read


@pytest.mark.slow
@pytest.mark.parametrize("part", PARTS)
def test_everything_is_as_it_was_frozen(part: str) -> None:
    found = list(differences(read(part), compute(part)))
    assert not found, f"\n{len(found)} outputs differ:\n\n" + "\n\n".join(found)
