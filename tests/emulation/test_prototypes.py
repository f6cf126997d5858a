"""The prototypes that benchmarks/machine/alternatives.cu times compute what their references on the host do."""

from __future__ import annotations

import emulated
import pytest
from emulated import ROOT, SCHEDULES, EmulatedLibrary

pytestmark = pytest.mark.emulation
SOURCE = ROOT / "benchmarks" / "machine" / "prototypes" / "emulated.cu"


@pytest.mark.parametrize(("architecture", "check"), [(90, "none"), (75, "none"), (90, "races")])
def test_prototypes_are_right_in_every_schedule(architecture: int, check: str) -> None:
    library = EmulatedLibrary(emulated.build(architecture, check, SOURCE))
    count = library.call("prototype_count")
    assert count >= 23
    for schedule in SCHEDULES:
        library.set_schedule(schedule)
        ends = [(library.call("prototype_outcome", number), library.failure()) for number in range(count)]
        assert ends == [(0, "")] * count, schedule
