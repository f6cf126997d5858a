"""How threads share units of work, under ThreadSanitizer."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent / "work_queue_by_threads.cpp"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program; skipped where the compiler has no ThreadSanitizer."""
    compiler = shutil.which(os.environ.get("CXX", "g++"))
    if compiler is None:
        pytest.skip("needs a compiler")
    built = tmp_path_factory.mktemp("work_queue") / "work_queue"
    command = [compiler, "-std=c++17", "-O1", "-g", "-fsanitize=thread", "-pthread", str(SOURCE), "-o", str(built)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0 and "tsan" in done.stderr:
        pytest.skip("the compiler has no ThreadSanitizer")
    assert done.returncode == 0, done.stderr
    return built


def test_what_was_claimed_and_waited_for_can_be_read(program: Path) -> None:
    done = subprocess.run([program], capture_output=True, text=True)
    if "unexpected memory mapping" in done.stderr:
        pytest.skip("ThreadSanitizer does not run on this kernel")
    assert (done.returncode, done.stderr) == (0, "")
    assert [int(number) for number in done.stdout.split()] == [20 * sum(range(5000))] * 2


def test_without_waiting_it_is_a_race(program: Path) -> None:
    done = subprocess.run([program, "do not wait"], capture_output=True, text=True)
    if "unexpected memory mapping" in done.stderr:
        pytest.skip("ThreadSanitizer does not run on this kernel")
    assert "ThreadSanitizer: data race" in done.stderr
