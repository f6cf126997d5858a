"""The gates on compiled CUDA kernels: budgets, instructions, occupancy; and that they go red when they should."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from cuda_gates import budget, cubin, disassembly, rules, toolkit
from cuda_gates.compiler import Usage
from cuda_gates.disassembly import Listing
from cuda_gates.occupancy import MULTIPROCESSORS, occupancy

ROOT = Path(__file__).resolve().parent.parent
COMMITTED = budget.load(ROOT / "tools" / "cuda_budget.json")
NVCC = toolkit.find_nvcc()
USAGE = Usage("knn.cu", "knn_kernel<float, 1>", 90, 114, 0, 0, 21568, 75776, 128)

needs_nvcc = pytest.mark.skipif(NVCC is None, reason="needs nvcc")


# --- reading machine code ---------------------------------------------------------------------------------------------

DISASSEMBLY = """
.text._Z6kernelPf:
        /*0000*/                   LDC R1, c[0x0][0x28] ;
.L_x_0:
        /*0010*/                   FADD R2, R3, -R4 ;
.L_x_1:
        /*0020*/                   LDS.128 R4, [R8] ;
        /*0030*/                   FFMA R5, R5, R5, R6 ;
        /*0040*/              @!P0 BRA `(.L_x_1) ;
        /*0050*/             @!UP0 REDUX.MAX UR5, R4 ;
        /*0060*/               @P1 BRA `(.L_x_0) ;
        /*0070*/                   EXIT ;
.L_x_2:
        /*0080*/                   BRA `(.L_x_2);
        /*0090*/                   NOP;
.text._Z5otherv:
        /*0000*/                   EXIT ;
"""


def test_disassembly_is_read() -> None:
    found = disassembly.parse(DISASSEMBLY)
    assert list(found) == ["_Z6kernelPf", "_Z5otherv"]
    listing = found["_Z6kernelPf"]
    assert listing.operations == ("LDC", "FADD", "LDS.128", "FFMA", "BRA", "REDUX.MAX", "BRA", "EXIT", "BRA")
    assert listing.loops == ((1, 6), (2, 4))  # not the jump to itself behind the end
    assert [loop.operations for loop in listing.innermost_loops()] == [("LDS.128", "FFMA", "BRA")]


def test_operations_are_counted_by_whole_words() -> None:
    listing = Listing(("RED.E.ADD", "REDUX.MAX", "LDG.E.128", "LDS.U.128", "LDS", "F2F.F64.F32"))
    assert listing.count("RED") == 1
    assert listing.count("LDG|LDS") == 3
    assert listing.count(r"LDS\.(?:\w+\.)*128") == 1
    assert listing.count(rules.DOUBLE) == 1


@pytest.mark.parametrize(
    ("check", "operations", "fault"),
    [
        (rules.none_of("LDL|STL"), ["FADD", "LDL.64"], "must have at most 0 LDL|STL, found 1"),
        (rules.none_of("LDL|STL"), ["LDG"], None),
        (rules.at_least(2, "REDUX"), ["REDUX"], "must have at least 2 REDUX, found 1"),
        (rules.pairs_of("FADD", "FFMA"), ["FADD", "FFMA"], None),
        (rules.pairs_of("FADD", "FFMA"), ["FADD", "FFMA", "FADD"], "must have as many FADD as FFMA, found 2 and 1"),
        (rules.pairs_of("FADD", "FFMA"), ["LDG"], "must have as many FADD as FFMA, found 0 and 0"),
    ],
)
def test_checks(check: rules.Check, operations: list[str], fault: str | None) -> None:
    assert check(Listing(tuple(operations))) == fault


def test_checks_of_the_hottest_loop() -> None:
    operations = ("LDG", "FFMA", "BRA", "FFMA", "FFMA", "IADD3", "IADD3", "BRA", "LDG", "IADD3", "BRA")
    listing = Listing(operations, ((0, 2), (3, 7), (8, 10)))
    assert rules.hottest_loop("FFMA", rules.none_of("LDG"), rules.slots_per(2.5, "FFMA"))(listing) is None
    assert rules.hottest_loop("FFMA", rules.slots_per(2, "FFMA"))(listing) == (
        "in its innermost loop of FFMA must have at most 2 instructions per FFMA, found 2.50"
    )
    assert rules.hottest_loop("DFMA")(listing) == "must have DFMA in an innermost loop, found none"


def test_rules_name_kernels_that_exist() -> None:
    """A rule for a kernel that has been renamed would hold of nothing."""
    kernels = [kernel for kernels in COMMITTED.kernels.values() for kernel in kernels]
    for rule in rules.RULES:
        for pattern in rule.kernels:
            assert any(rules.Rule((pattern,), rule.check, "").applies(kernel, 90) for kernel in kernels), pattern
    float_kernel = "knn_kernel<float, 1>"
    faults = rules.broken(float_kernel, 90, Listing(("FADD", "FMUL", "FADD")))
    assert f"{float_kernel} for sm_90 must have at most 0 FMUL, found 1 (canonical chain)" in faults
    assert len(faults) == 3  # neither pairs nor a hot loop


# --- budgets ----------------------------------------------------------------------------------------------------------


def test_no_committed_budget_allows_local_memory() -> None:
    for kernels in COMMITTED.kernels.values():
        for kernel, entry in kernels.items():
            assert (entry["stack"], entry["spills"]) == (0, 0), kernel


def test_every_kernel_has_a_budget() -> None:
    """Also where there is no nvcc to find out."""
    for source in (ROOT / "csrc" / "cuda").glob("*.cu"):
        kernels = set(re.findall(r"__global__[^;{]*?\b(\w+_kernel)\(", source.read_text()))
        assert kernels, source.name
        assert {name.split("<")[0] for name in COMMITTED.kernels[source.name]} == kernels


def test_an_excess_is_told_with_both_numbers(tmp_path: Path) -> None:
    budget.save(budget.of([USAGE, replace(USAGE, target=75, registers=90)], "13.0"), tmp_path / "budget.json")
    fitting = budget.load(tmp_path / "budget.json")
    assert fitting.kernels["knn.cu"]["knn_kernel<float, 1>"] == {
        "registers": {"75": 96, "90": 120}, "stack": 0, "spills": 0, "shared": 21568, "code": 86016,
    }  # fmt: skip
    assert fitting.excesses(replace(USAGE, registers=120)) == []
    assert fitting.excesses(replace(USAGE, registers=121, spills=8)) == [
        "knn.cu: knn_kernel<float, 1> for sm_90 must need at most 120 registers a thread, needs 121",
        "knn.cu: knn_kernel<float, 1> for sm_90 must need at most 0 bytes of spilled registers a thread, needs 8",
    ]
    assert len(fitting.excesses(replace(USAGE, kernel="other"))) == 5  # no budget at all
    assert fitting.unused([]) == ["knn.cu: knn_kernel<float, 1> has a budget, but there is no such kernel"]


def test_a_file_that_is_no_budget(tmp_path: Path) -> None:
    (tmp_path / "budget.json").write_text("{}")
    with pytest.raises(ValueError, match=r"must be a budget file \(python tools/compile_cuda.py --write-budget\), got"):
        budget.load(tmp_path / "budget.json")


# --- occupancy --------------------------------------------------------------------------------------------------------


def test_occupancy_of_known_cases() -> None:
    full = occupancy(replace(USAGE, registers=32, shared=0), threads=256)
    assert full is not None
    assert (full.blocks, full.share, full.limit) == (8, 1.0, "warps")
    by_registers = occupancy(replace(USAGE, registers=65, shared=0), threads=512)
    assert by_registers is not None
    assert (by_registers.blocks, by_registers.limit) == (1, "registers")
    assert occupancy(replace(USAGE, target=61), threads=256) is None


NVIDIAS_OCCUPANCY = """
#include <cstdio>
#include "cuda_occupancy.h"
int main() {
  int target, registers, shared, threads;
  cudaOccDeviceProp device = {};
  while (std::scanf("%d %d %d %d %d %zu %zu", &target, &registers, &shared, &threads,
                    &device.maxThreadsPerMultiprocessor, &device.sharedMemPerMultiprocessor,
                    &device.reservedSharedMemPerBlock) == 7) {
    device.computeMajor = target / 10;
    device.computeMinor = target % 10;
    device.maxThreadsPerBlock = 1024;
    device.regsPerBlock = device.regsPerMultiprocessor = 65536;
    device.warpSize = 32;
    device.sharedMemPerBlock = 49152;
    device.sharedMemPerBlockOptin = device.sharedMemPerMultiprocessor - device.reservedSharedMemPerBlock;
    device.numSms = 1;
    cudaOccFuncAttributes kernel = {};
    kernel.maxThreadsPerBlock = 1024;
    kernel.numRegs = registers;
    kernel.sharedSizeBytes = shared;
    cudaOccDeviceState state = {};
    state.carveoutConfig = 100;
    cudaOccResult result = {};
    const int error = cudaOccMaxActiveBlocksPerMultiprocessor(&result, &device, &kernel, &state, threads, 0);
    std::printf("%d\\n", error != 0 ? -error : result.activeBlocksPerMultiprocessor);
  }
}
"""


@needs_nvcc
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
def test_occupancy_is_that_of_the_toolkit(tmp_path: Path) -> None:
    """cuda_occupancy.h is NVIDIA's own calculator."""
    include = toolkit.toolkit_root(NVCC) / "include"
    if not (include / "cuda_occupancy.h").is_file():
        pytest.skip("needs cuda_occupancy.h of the toolkit")
    (tmp_path / "occupancy.cpp").write_text(NVIDIAS_OCCUPANCY)
    program = tmp_path / "occupancy"
    subprocess.run(["g++", f"-isystem{include}", tmp_path / "occupancy.cpp", "-o", program], check=True)
    cases = [
        (replace(USAGE, target=target, registers=registers, shared=shared), threads)
        for target in MULTIPROCESSORS
        for registers in (16, 33, 64, 100, 128)
        for shared in (0, 384, 10240, 21568, 42112)
        for threads in (32, 128, 256, 512)
    ]
    text = "".join(
        f"{usage.target} {usage.registers} {usage.shared} {threads} "
        f"{MULTIPROCESSORS[usage.target].threads} {MULTIPROCESSORS[usage.target].shared} "
        f"{MULTIPROCESSORS[usage.target].shared_reserved}\n"
        for usage, threads in cases
    )
    printed = subprocess.run([program], input=text, capture_output=True, text=True, check=True).stdout
    for (usage, threads), theirs in zip(cases, printed.split(), strict=True):
        ours = occupancy(usage, threads)
        assert ours is not None
        assert ours.blocks == int(theirs), (usage, threads)


# --- the command, on a kernel as it is and on spoiled ones ------------------------------------------------------------


def compile_copy(folder: Path, old: str, new: str) -> subprocess.CompletedProcess[str]:
    """Compiles a copy of farthest point sampling for one target after a replacement in its source."""
    for part in ("common", "cuda"):
        shutil.copytree(ROOT / "csrc" / part, folder / part)
    source = folder / "cuda" / "farthest_point_sampling.cu"
    text = source.read_text()
    assert old in text
    source.write_text(text.replace(old, new))
    command = [sys.executable, ROOT / "tools" / "compile_cuda.py", source, "--targets", "90"]
    return subprocess.run(command, capture_output=True, text=True)


def skip_unless_budget_is_for_this_nvcc() -> None:
    if NVCC is None:
        pytest.skip("needs nvcc")
    version = toolkit.nvcc_version(NVCC)
    if version != COMMITTED.nvcc:
        pytest.skip(f"the budget is for nvcc {COMMITTED.nvcc}, this is {version}")


def test_a_kernel_as_it_is_passes(tmp_path: Path) -> None:
    skip_unless_budget_is_for_this_nvcc()
    done = compile_copy(tmp_path, "", "")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "blocks on a multiprocessor" in done.stdout


def test_a_kernel_that_spills_fails(tmp_path: Path) -> None:
    skip_unless_budget_is_for_this_nvcc()
    done = compile_copy(tmp_path, "__launch_bounds__(kMaxThreads, 1)", "__launch_bounds__(kMaxThreads, 4)")
    assert done.returncode == 1, done.stdout + done.stderr
    kernel = re.escape("farthest_point_sampling.cu: farthest_point_sampling_kernel<float, 3> for sm_90")
    assert re.search(
        rf"failed: {kernel} must need at most 0 bytes of spilled registers a thread, needs \d+", done.stdout
    )
    if toolkit.find_nvdisasm(toolkit.toolkit_root(NVCC)) is not None:
        assert re.search(r"must have at most 0 LDL\|STL, found \d+", done.stdout)


def test_a_kernel_that_rounds_otherwise_fails(tmp_path: Path) -> None:
    skip_unless_budget_is_for_this_nvcc()
    if toolkit.find_nvdisasm(toolkit.toolkit_root(NVCC)) is None:
        pytest.skip("needs nvdisasm")
    done = compile_copy(tmp_path, "fused_multiply_add(difference, difference, sum)", "difference * difference + sum")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "must have at most 0 FMUL, found" in done.stdout


@needs_nvcc
def test_launch_bounds_are_read_from_the_machine_code(tmp_path: Path) -> None:
    (tmp_path / "two.cu").write_text(
        "__global__ void __launch_bounds__(96) bounded_kernel(int* p) { *p = 1; }\n"
        "__global__ void free_kernel(int* p) { *p = 2; }\n"
    )
    command = [NVCC, "-cubin", "-gencode", "arch=compute_90,code=sm_90", tmp_path / "two.cu", "-o", tmp_path / "cubin"]
    subprocess.run(command, check=True)
    found = cubin.kernels(tmp_path / "cubin")
    assert {name: code.max_threads for name, code in found.items()} == {
        "_Z14bounded_kernelPi": 96, "_Z11free_kernelPi": None,
    }  # fmt: skip
    assert all(code.size > 0 for code in found.values())
