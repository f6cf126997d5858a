"""Fixtures for all tests: devices, CPU instruction sets, and the optional folder of real data."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from pathlib import Path

import emulated
import pytest
import torch

from pointkernels._library import build_info, set_isa, set_knn_path

ROOT = Path(__file__).resolve().parent.parent
# For runs with a second torch, beside a complete one: one device of each kind, and nothing that never asks torch.
ANOTHER_TORCH = os.environ.get("POINTKERNELS_TEST_ANOTHER_TORCH") == "1"
SAME_FOR_EVERY_TORCH = (
    "benchmarks/", "cpu/", "emulation/", "test_build.py", "test_build_distributions.py", "test_compiler_gates.py",
    "test_predictions.py", "test_layers.py", "training/data/", "training/evaluation/",
    "training/selftraining/test_selftraining_resume.py",
)  # fmt: skip
ISAS = build_info()["isas_usable"][-1:] if ANOTHER_TORCH else build_info()["isas_usable"]
DEVICES = [f"cpu-{isa}" for isa in ISAS]
OTHER_ISAS = DEVICES[:-1]
if torch.cuda.is_available() and build_info()["cuda"]:
    DEVICES.append("cuda")
if not ANOTHER_TORCH:
    DEVICES.append("emulated")

# Processes of `pytest -n` share the cores; with all of them each they would mostly wait for one another.
if "PYTEST_XDIST_WORKER_COUNT" in os.environ:
    THREADS = max(1, (os.cpu_count() or 1) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"]))
    os.environ.setdefault("OMP_NUM_THREADS", str(THREADS))  # of the processes that tests start
    torch.set_num_threads(THREADS)


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest) -> Iterator[str]:
    """Every device there is, on the CPU every instruction set that this machine has, and the CUDA kernels emulated.

    What takes the emulation too long is marked `too_large_to_emulate`; each other test has its own schedule there. What
    asks torch rather than the loops is marked `one_instruction_set`, which is the best one.
    """
    if request.param == "emulated":
        reason = emulated.missing()
        if reason is not None:
            pytest.skip(reason)
        schedules = list(emulated.SCHEDULES)
        with emulated.device(schedules[zlib.crc32(request.node.nodeid.encode()) % len(schedules)]):
            yield "cpu"
        return
    name, _, isa = request.param.partition("-")
    if isa:
        set_isa(isa)
    yield name
    if isa:
        set_isa(build_info()["isas_usable"][-1])


@pytest.fixture(params=ISAS)
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each CPU instruction set that this machine has."""
    set_isa(request.param)
    yield request.param
    set_isa(build_info()["isas_usable"][-1])
    set_knn_path("auto")


@pytest.hookimpl(tryfirst=True)  # before `-m` looks at the markers
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what need not run here; mark what runs on a GPU; begin with what takes long."""
    for item in items:
        if getattr(getattr(item, "callspec", None), "params", {}).get("device") == "cuda":
            item.add_marker("cuda")

    def is_excluded(item: pytest.Item) -> bool:
        callspec = getattr(item, "callspec", None)
        on = None if callspec is None else callspec.params.get("device")
        too_large = on == "emulated" and item.get_closest_marker("too_large_to_emulate") is not None
        repeated = on in OTHER_ISAS and item.get_closest_marker("one_instruction_set") is not None
        path = item.path.relative_to(ROOT / "tests").as_posix()
        known = ANOTHER_TORCH and path.startswith(SAME_FOR_EVERY_TORCH)
        return too_large or repeated or known

    left_out = [item for item in items if is_excluded(item)]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if not is_excluded(item)]
    # The longest tests first, so that no process of `pytest -n` is left with them at the end.
    items.sort(key=lambda item: "training/engine" not in item.nodeid)


def pytest_report_header() -> str:
    """What the operators are tested on."""
    skipped = "" if "cuda" in DEVICES else "; not on cuda: no CUDA device, or a build without CUDA"
    skipped += f"; not emulated: {emulated.missing()}" if emulated.missing() else ""
    return f"pointkernels devices: {', '.join(DEVICES)}{skipped}"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real point clouds for measuring; not part of the repository."""
    shared = Path(os.environ.get("POINTKERNELS_SHARED", ROOT.parent / "shared"))
    if not (shared / "data").is_dir():
        pytest.skip(f"needs the real point clouds; {shared / 'data'} is not there (set POINTKERNELS_SHARED)")
    return shared / "data"
