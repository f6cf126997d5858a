"""Fixtures of the emulation's own tests."""

from __future__ import annotations

import emulated
import pytest
from machines import MACHINES, Machine


@pytest.fixture(autouse=True)
def _possible() -> None:
    reason = emulated.missing()
    if reason is not None:
        pytest.skip(reason)


@pytest.fixture(params=MACHINES, ids=str)
def machine(request: pytest.FixtureRequest) -> Machine:
    """Each of MACHINES."""
    found: Machine = request.param
    return found
