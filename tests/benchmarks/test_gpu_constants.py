"""Constants that no GPU can have are refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from gpu import floors, parts, programs
from gpu.constants import CONSTANTS, sifted
from gpu.findings import Report
from gpu.processes import Finished

MIDDLE = {c.name: (c.lowest * c.highest) ** 0.5 / c.scale for c in CONSTANTS}


def test_what_a_gpu_can_have_is_kept() -> None:
    assert sifted({**MIDDLE, "name": "One"}) == ({**MIDDLE, "name": "One"}, "")
    assumed = {name: value for name, value in floors.ASSUMED.items() if name in MIDDLE}
    assert sifted(assumed) == (assumed, "")


@pytest.mark.parametrize(
    ("name", "value", "got"),
    [
        ("l2_latency", 3, "80 to 2000 cycles, got 3"),
        ("shared_latency", 0, "10 to 200 cycles, got 0"),
        ("node_gap", -1e-6, "0.1 to 100 us, got -1"),
        ("copy_bandwidth", 1e15, "0.05 to 50 TB/s, got 1000"),
        ("clock_rate", float("nan"), "0.3 to 5 GHz, got nan"),
        ("launch", "fast", "0.3 to 200 us, got 'fast'"),
    ],
)
def test_what_no_gpu_has_is_refused(name: str, value: Any, got: str) -> None:
    kept, note = sifted({**MIDDLE, name: value})
    assert note == f"constants must lie within what a GPU can have: {name} {got}"
    assert name not in kept
    assert len(kept) == len(MIDDLE) - 1


def test_what_a_device_lacks_is_no_fault() -> None:
    lacking = {c.name: 0 for c in CONSTANTS if c.may_lack}
    assert set(lacking) >= {"cluster_barrier", "cluster_barrier_of_16", "distant_shared_latency", "mma_tf32"}
    assert sifted(lacking) == (lacking, "")


def test_the_part_passes_no_implausible_constant_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    printed = json.dumps({"copy_bandwidth": 4e12, "l2_latency": 3})
    monkeypatch.setattr(parts.Context, "run", lambda *_: Finished(0, 1.0, printed))
    found = parts.machine(parts.Context(False, tmp_path, Report({}), "9.0"), 60)
    assert (found.status, found.found) == ("failed", {"copy_bandwidth": 4e12})
    assert found.note.endswith("l2_latency 80 to 2000 cycles, got 3")


def test_the_program_prints_every_constant() -> None:
    source = (programs.FOLDER / "constants.cu").read_text()
    printed = set(re.findall(r'\\"(\w+)\\":', source))
    for name in ("warp_maximum", "shuffle"):
        assert f'(watch, "{name}", result)' in source
        printed |= {f"{name}_latency", *(f"{name}_of_{n}_warps" for n in (4, 8, 16))}
    printed |= {f"barrier_of_{n}" for n in (128, 256, 512, 1024)}
    assert {c.name for c in CONSTANTS} <= printed
