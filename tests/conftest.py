"""Fixtures for all tests: devices, CPU instruction sets, and the optional folder of real data."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from pointkernels._library import build_info, set_isa

ROOT = Path(__file__).resolve().parent.parent
DEVICES = [f"cpu-{isa}" for isa in build_info()["isas_usable"]]
if torch.cuda.is_available() and build_info()["cuda"]:
    DEVICES.append("cuda")


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest) -> Iterator[str]:
    """Every device there is, and on the CPU every instruction set that this machine has."""
    name, _, isa = request.param.partition("-")
    if isa:
        set_isa(isa)
    yield name
    if isa:
        set_isa(build_info()["isas_usable"][-1])


def pytest_report_header() -> str:
    """What the operators are tested on."""
    skipped = "" if "cuda" in DEVICES else "; not on cuda: no CUDA device, or a build without CUDA"
    return f"pointkernels devices: {', '.join(DEVICES)}{skipped}"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real point clouds for measuring; not part of the repository."""
    shared = Path(os.environ.get("POINTKERNELS_SHARED", ROOT.parent / "shared"))
    if not (shared / "data").is_dir():
        pytest.skip(f"needs the real point clouds; {shared / 'data'} is not there (set POINTKERNELS_SHARED)")
    return shared / "data"
