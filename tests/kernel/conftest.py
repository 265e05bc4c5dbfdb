"""Labs that more than one file of tests looks at."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from wire_labs import NO_TRANSLATORS, WIRES, Volley, volley_over


@pytest.fixture(scope="session", params=WIRES)
def volley(request: pytest.FixtureRequest) -> Iterator[Volley]:
    """For each wire format: one lab, and what one volley of frames looked like in it."""
    wire = WIRES[request.param]
    if wire.translated and NO_TRANSLATORS:
        pytest.skip(f"no eBPF translators: {NO_TRANSLATORS}")
    with volley_over(wire) as found:
        yield found
