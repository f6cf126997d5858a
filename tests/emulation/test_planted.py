"""Kernels with planted bugs: each is caught by what should catch it, and each twin without the bug is clean."""

from __future__ import annotations

import re
from pathlib import Path

import emulated
import pytest
from emulated import EmulatedLibrary
from run_planted import run

pytestmark = pytest.mark.emulation
HERE = Path(__file__).parent
PLANTED, SHOWN = sorted((HERE / "planted").glob("*.cu")), sorted((HERE / "kernels").glob("*.cu"))
NAMES, SHOWN_NAMES = [path.stem for path in PLANTED], [path.stem for path in SHOWN]

BARRIER = "__syncthreads at FILE:{}, block 0, thread {}"
UNWRITTEN = r"a read of shared memory that no thread has written: {} at FILE:{} by thread \d+, block 0"
ACCESS = r"(read|write|atomic operation) at FILE:({}) by thread \d+"
RACE = rf"a race on shared memory: {ACCESS} and {ACCESS}, with no barrier between them, block 0"
IN_CLUSTER = r"{} of the cluster's block \d"

# What every schedule ends with, as a regular expression: a wrong result, or a message.
ENDS = {
    "missing_barrier": "wrong",
    "missing_second_barrier": "wrong",
    "unwritten_shared": "wrong",
    "off_by_one_grid": "wrong",
    "cluster_race": "wrong",
    "divergent_barrier": f"threads wait at different barriers: {BARRIER.format(11, 32)}; thread 0 waits at FILE:9",
    "exit_past_barrier": "a barrier is reached by 40 of 64 threads and the others have returned: "
    + BARRIER.format(12, 39),
    "absent_lanes": "a warp collective waits for lanes that do not come: __shfl_xor_sync at FILE:9, block 0, thread 0",
    "foreign_mask": r"the mask 0xffff does not name the calling lane: __ballot_sync at FILE:9, block 0, thread \d+",
    "cluster_divergence": "a cluster barrier waits for threads of the cluster that do not come: cluster.sync at "
    "FILE:11, block [023], thread 0",
}

# What at least one schedule ends with.
ENDS_SOMEWHERE = {"missing_wait": "wrong", "cluster_exit": "wrong"}

# What the race detector says in every schedule, also where the result is right in all of them.
RACES = {
    "missing_barrier": UNWRITTEN.format("read", 14),
    "missing_second_barrier": RACE.format("15|17", "15|17"),
    "missing_syncwarp": RACE.format("11|14", "11|14"),
    "plain_counter": RACE.format("14", "14"),
    "unwritten_shared": UNWRITTEN.format("atomic operation", 11),
    "missing_wait": UNWRITTEN.format("read", 18),
    "cluster_race": "a race on shared memory: "
    + " and ".join([IN_CLUSTER.format(ACCESS.format("19|25"))] * 2)
    + r", with no barrier between them, block \d",
    "cluster_early": "before any cluster barrier, an access to the shared memory of another block: "
    + IN_CLUSTER.format(ACCESS.format("13"))
    + r", block \d",
    "cluster_exit": "(a block ends with no cluster barrier after an access to its shared memory"
    "|after that block has ended, an access to the shared memory of another block): "
    + IN_CLUSTER.format(ACCESS.format("15"))
    + r", block \d",
}

# The sanitizers find these, and end the process.
OUT_OF_BOUNDS = {
    "out_of_bounds_global": r"heap-buffer-overflow[\s\S]+WRITE of size 4[\s\S]+FILE:12",
    "out_of_bounds_shared": r"global-buffer-overflow[\s\S]+WRITE of size 4[\s\S]+FILE:14",
    "out_of_bounds_local": r"stack-buffer-overflow[\s\S]+WRITE of size 4[\s\S]+FILE:15",
    "out_of_bounds_dynamic": r"heap-buffer-overflow[\s\S]+WRITE of size 4[\s\S]+FILE:12",
    "cluster_out_of_bounds": r"use-after-poison[\s\S]+WRITE of size 4[\s\S]+FILE:18",
}


def pattern(name: str, expected: str) -> str:
    """The regular expression with the planted kernel's file in it."""
    return expected.replace("FILE", rf"tests/emulation/planted/{name}\.cu")


def library(check: str) -> EmulatedLibrary:
    return EmulatedLibrary(emulated.build(90, check, *PLANTED, *SHOWN))


def test_all_are_expected_somewhere() -> None:
    assert set(NAMES) == {*ENDS, *ENDS_SOMEWHERE, *RACES, *OUT_OF_BOUNDS}


@pytest.mark.parametrize("check", ["none", "races"])
@pytest.mark.parametrize("name", SHOWN_NAMES)
def test_what_kernels_can_use(name: str, check: str) -> None:
    assert set(run(library(check), name, "shown")) == {"right"}


@pytest.mark.parametrize("check", ["none", "races"])
@pytest.mark.parametrize("name", NAMES)
def test_the_twin_without_the_bug_is_clean(name: str, check: str) -> None:
    assert set(run(library(check), name, "fixed")) == {"right"}


@pytest.mark.parametrize("name", ENDS)
def test_schedules_catch(name: str) -> None:
    for end in run(library("none"), name, "broken"):
        assert re.fullmatch(pattern(name, ENDS[name]), end)


@pytest.mark.parametrize("name", ENDS_SOMEWHERE)
def test_some_schedule_catches(name: str) -> None:
    ends = run(library("none"), name, "broken")
    assert set(ends) == {"right", ENDS_SOMEWHERE[name]}


@pytest.mark.parametrize("name", RACES)
def test_the_race_detector_catches(name: str) -> None:
    for end in run(library("races"), name, "broken"):
        assert re.fullmatch(pattern(name, RACES[name]), end)


@pytest.mark.parametrize("name", ["missing_syncwarp", "plain_counter", "cluster_early"])
def test_no_schedule_sees_what_the_race_detector_sees(name: str) -> None:
    """Else the tests of the race detector would not need it."""
    assert set(run(library("none"), name, "broken")) == {"right"}


@pytest.mark.parametrize("name", OUT_OF_BOUNDS)
def test_the_sanitizers_catch(name: str) -> None:
    built = emulated.build(90, "sanitizers", *PLANTED, *SHOWN)
    result = emulated.run_sanitized(str(HERE / "run_planted.py"), str(built), "broken", name)
    assert result.returncode != 0
    assert re.search(pattern(name, OUT_OF_BOUNDS[name]), result.stderr), result.stderr


def test_the_sanitizers_leave_the_others_alone() -> None:
    built = emulated.build(90, "sanitizers", *PLANTED, *SHOWN)
    for which, names in (("fixed", NAMES), ("shown", SHOWN_NAMES)):
        result = emulated.run_sanitized(str(HERE / "run_planted.py"), str(built), which, *names)
        assert result.returncode == 0, result.stderr
        assert result.stdout.split() == [word for name in names for word in [name, *["right"] * 4]]
