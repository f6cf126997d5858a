"""Threads that share the loops of one cloud: the same results for any number of them, and no data race."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parent
COMPILER = shutil.which(os.environ.get("CXX", "g++"))


@pytest.mark.skipif(COMPILER is None, reason="needs a C++ compiler")
def test_a_team_races_for_nothing_and_loses_nothing(tmp_path: Path) -> None:
    program = tmp_path / "team"
    source = FOLDER / "team_under_thread_sanitizer.cpp"
    command = [str(COMPILER), "-std=c++17", "-O1", "-g", "-fsanitize=thread", "-Wall", "-Wextra", "-Werror", "-pthread"]
    built = subprocess.run([*command, str(source), "-o", str(program)], capture_output=True, text=True)
    if "tsan" in built.stderr:
        pytest.skip("needs the ThreadSanitizer of the compiler")
    assert built.returncode == 0, built.stderr
    result = subprocess.run([str(program)], capture_output=True, text=True, env={**os.environ, "LD_PRELOAD": ""})
    assert (result.returncode, result.stdout + result.stderr) == (0, "")
