"""The inner loops for Arm: they compile, export nothing that others may link, and give what the scalar build gives.

Needs an Arm machine, or a cross compiler (`apt install g++-aarch64-linux-gnu`) and, to run them, `qemu-user`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

CPU = Path(__file__).resolve().parents[2] / "csrc" / "cpu"
PROGRAM = Path(__file__).resolve().parent / "compare_with_scalar.cpp"
ON_ARM = os.uname().machine == "aarch64"
COMPILER = shutil.which(os.environ.get("CXX", "g++") if ON_ARM else "aarch64-linux-gnu-g++")
NM = shutil.which("nm" if ON_ARM else "aarch64-linux-gnu-nm")
EMULATOR = shutil.which("qemu-aarch64") or shutil.which("qemu-aarch64-static")

pytestmark = pytest.mark.skipif(COMPILER is None, reason="needs g++ for aarch64 (apt install g++-aarch64-linux-gnu)")


def compile_for_arm(*arguments: str | Path) -> None:
    command = [str(COMPILER), "-std=c++17", "-O0", "-ffp-contract=off", "-Wall", "-Wextra", "-Werror"]
    subprocess.run([*command, "-Wno-unused-function", *map(str, arguments)], check=True)


@pytest.mark.skipif(NM is None, reason="needs nm for aarch64")
def test_the_loops_compile_and_export_nothing_that_others_may_link(tmp_path: Path) -> None:
    compile_for_arm("-c", CPU / "builds" / "isa_neon.cpp", "-o", tmp_path / "neon.o")
    symbols = subprocess.run([str(NM), "-C", tmp_path / "neon.o"], capture_output=True, text=True, check=True).stdout
    assert "pointkernels::kNeonFloat" in symbols
    assert [line for line in symbols.splitlines() if " W " in line or " V " in line] == []


@pytest.mark.skipif(not ON_ARM and EMULATOR is None, reason="needs qemu-aarch64 (apt install qemu-user)")
def test_vectors_and_loops_equal_the_scalar_build(tmp_path: Path) -> None:
    program = tmp_path / "compare"
    compile_for_arm("-static", "-DPOINTKERNELS_NEON", PROGRAM, CPU / "builds" / "isa_scalar.cpp", "-o", program)
    command = [str(program)] if ON_ARM else [str(EMULATOR), str(program)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (0, "")
