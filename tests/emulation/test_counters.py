"""What the emulation counts, on kernels whose counts are known by hand and on the operators."""

from __future__ import annotations

from pathlib import Path

import emulated
import pytest
import torch

import pointkernels

pytestmark = pytest.mark.emulation
COUNTED = Path(__file__).parent / "counted" / "accesses.cu"

# Of two warps: requests and sectors of global memory, requests and wavefronts of shared memory, requests that lack
# lanes, atomics and the turns of their lanes, barriers.
EXPECTED = {
    "coalesced_kernel": (4, 16, 0, 0, 0, 0, 0, 0),
    "strided_kernel": (4, 64 + 8, 0, 0, 0, 0, 0, 0),
    "same_address_kernel": (4, 2 + 8, 0, 0, 0, 0, 0, 0),
    "diverging_kernel": (4, 16, 0, 0, 4, 0, 0, 0),
    "bank_conflicts_kernel": (2, 8, 4, 128, 0, 0, 0, 1),
    "no_conflicts_kernel": (2, 8, 4, 4, 0, 0, 0, 1),
    # Two launches: one thread of the first warp sets the counter, all read it.
    "atomics_kernel": (4, 16, 6, 6, 2, 4, 4 * 32, 4),
    "vectors_kernel": (4, 4 * 16, 4, 4 * 4, 0, 0, 0, 1),
    "doubles_kernel": (4, 4 * 8, 4, 4 * 2, 0, 0, 0, 1),
    "global_atomics_kernel": (0, 0, 0, 0, 0, 2, 2 * 4, 0),
}
GLOBAL_ATOMICS = {"global_atomics_kernel": 2}
COUNTERS = ("global_requests", "global_sectors", "shared_requests", "shared_wavefronts", "divergent_requests")
COUNTERS += ("atomics", "atomic_turns", "barriers")


@pytest.mark.parametrize("schedule", emulated.SCHEDULES)
def test_known_kernels(schedule: str) -> None:
    """In every schedule: what is counted does not depend on who comes first."""
    library = emulated.EmulatedLibrary(emulated.build(90, "counters", COUNTED))
    library.set_schedule(schedule)
    library.reset_counters()
    assert library.call("count_all") == 0
    counted = library.counters()
    assert counted["memsets"] == 1
    found = {kernel["name"]: tuple(kernel[name] for name in COUNTERS) for kernel in counted["kernels"]}
    assert found == EXPECTED
    assert {k["name"]: k["global_atomics"] for k in counted["kernels"] if k["global_atomics"]} == GLOBAL_ATOMICS
    launches = {kernel["name"]: kernel["launches"] for kernel in counted["kernels"]}
    assert launches == {**dict.fromkeys(EXPECTED, 1), "atomics_kernel": 2}
    library.reset_counters()
    assert library.counters() == {"memsets": 0, "kernels": []}


def test_operators() -> None:
    """Distances of a cloud in one launch, whose writes and reads are of whole lines."""
    points = torch.rand(1, 256, 3)
    library = emulated.operators(90, "counters")
    with emulated.device("forward", check="counters"):
        library.reset_counters()
        pointkernels.knn(points, 20)
    (kernel,) = library.counters()["kernels"]
    assert (kernel["name"], kernel["launches"], kernel["atomics"]) == ("knn_kernel<float, 1>", 1, 0)
    assert kernel["global_sectors"] <= 6 * kernel["global_requests"]


def test_what_is_cut_into_parts_is_launched_more_often() -> None:
    points = torch.rand(1, 200, 3)
    library = emulated.operators(90, "counters")
    with emulated.device("forward", check="counters", most_steps=1):
        library.reset_counters()
        pointkernels.knn(points, 4)
    (kernel,) = library.counters()["kernels"]
    assert kernel["launches"] > 1
