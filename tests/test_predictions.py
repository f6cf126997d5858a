"""Predictions from machine code: how often each instruction runs, and that what costs more than it may is found."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import predict
import pytest
from prediction import launches, machine, machine_code, regions
from prediction.kernels.knn import knn
from prediction.launches import Launch
from prediction.regions import Region

import pointkernels

ROOT = Path(__file__).resolve().parent.parent
needs_tools = pytest.mark.skipif(isinstance(predict.missing(), str), reason=str(predict.missing()))

# A loop over d, unrolled twice with a copy for what is left, and a function that is not inlined.
SOURCE = """\
__global__ void kernel(const float* x, int n) {
  float sum = 0;
  for (int d = 0; d < n; ++d) {
    sum += x[d];
  }
  check(sum);
}
"""
DISASSEMBLY = """
.text._Z6kernelPKfi:
_Z6kernelPKfi:
	//## File "/there/kernel.cu", line 2
        /*0000*/                   MOV R1, RZ ;
.L_x_0:
	//## File "/there/adding.h", line 7 inlined at "/there/kernel.cu", line 4
	//## File "/there/kernel.cu", line 4
        /*0010*/                   FADD R1, R1, R2 ;
        /*0020*/                   FADD R1, R1, R3 ;
	//## File "/there/kernel.cu", line 3
        /*0030*/               @P0 BRA `(.L_x_0) ;
	//## File "/there/kernel.cu", line 4
        /*0040*/                   LDG.E R2, desc[UR4][R2.64] ;
        /*0050*/                   FADD R1, R1, R2 ;
	//## File "/there/kernel.cu", line 6
        /*0060*/               @!P1 BRA `(.L_x_1) ;
        /*0070*/               @!P1 BRA `(.L_x_2) ;
        /*0080*/                   MOV R4, 0x18 ;
        /*0090*/                   CALL.ABS.NOINC R14 ;
.L_x_1:
        /*00a0*/                   CALL.REL.NOINC `($_Z6kernelPKfi$helper) ;
        /*00b0*/                   EXIT ;
.L_x_2:
        /*00c0*/                   FMUL R1, R1, R1 ;
        /*00d0*/                   EXIT ;
$_Z6kernelPKfi$helper:
	//## File "/there/helper.h", line 1
        /*00e0*/                   SHFL.BFLY PT, R1, R1, 0x1, 0x1f ;
        /*00f0*/                   RET.REL.NODEC R2 `(_Z6kernelPKfi) ;
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "kernel.cu"
    path.write_text(SOURCE)
    return path


def code() -> tuple[machine_code.Instruction, ...]:
    (found,) = machine_code.parse(DISASSEMBLY).values()
    return found


def test_machine_code_is_read_with_its_lines() -> None:
    found = code()
    assert found[1].lines == (("adding.h", 7), ("kernel.cu", 4))
    assert found[2].lines == found[1].lines
    assert [i.function for i in found] == [""] * 14 + ["helper"] * 2
    assert [place for place, i in enumerate(found) if i.loops] == [1, 2, 3]
    # The check that fails, and what only a branch that cannot be taken leads to.
    assert [i.operation for i in found if i.is_dead_end] == ["MOV", "CALL.ABS.NOINC", "FMUL", "EXIT"]


def runs(source: Path, trips: float, *others: Region) -> dict[str, tuple[float, float]]:
    loop = Region("loop", "for (int d = 0", trips=trips, unit=("FADD", 1))
    parts = regions.count(code(), source, Region("all", "kernel(const", children=(loop, *others)))
    return {part.region.name: (part.slots, sum(n for _, n in part.instructions)) for part in parts}


def test_an_unrolled_loop_and_what_is_left(source: Path) -> None:
    """Its body is three instructions for two trips; one that is left takes two."""
    assert runs(source, 10)["loop"] == (1.5, 15)
    assert runs(source, 11)["loop"] == (1.5, 17)
    assert runs(source, 1)["loop"] == (1.5, 2)
    assert runs(source, 0)["loop"] == (1.5, 0)
    assert runs(source, 10)["all"] == (5, 5)  # a move, two branches, a call and the exit


def test_a_function_of_its_own(source: Path) -> None:
    found = runs(source, 10, Region("helper", "", function="helper", trips=3))
    assert found["helper"] == (2, 6)


def test_regions_that_are_not_there_are_refused(source: Path) -> None:
    with pytest.raises(ValueError, match=r"region loop must begin at the one line with 'while', found it in \[\]"):
        regions.count(code(), source, Region("all", "kernel(const", children=(Region("loop", "while"),)))
    with pytest.raises(ValueError, match="region loop must have DADD, found none among 5 instructions"):
        regions.count(code(), source, Region("all", "kernel(", children=(Region("loop", "for", unit=("DADD", 1)),)))
    with pytest.raises(ValueError, match="different names"):
        regions.count(code(), source, Region("all", "kernel(const", children=(Region("all", "for (int"),)))


def test_statements_end_at_their_brace_or_semicolon() -> None:
    text = "for (int i = 0; i < n; ++i) f(i);  // {\nif (x) {\n  g([&] { return 1; });\n}\nh();\n"
    lines = [regions.lines_of(text, Region("a", at), (1, 5)) for at in ("for (", "if (", "h()")]
    assert lines == [(1, 1), (2, 4), (5, 5)]
    assert regions.lines_of(text, Region("a", "if (", to="h()"), (1, 5)) == (2, 5)


def test_pipes() -> None:
    expected = {
        "FFMA": "float32", "IMAD.WIDE": "integer products", "LDG.E.128": "memory", "SHFL.BFLY": "shuffles",
        "DADD": "float64", "F2F.F64.F32": "special functions", "REDUX.MAX": "reductions of a warp",
        "ISETP.NE.AND": "integers and logic", "FSETP.GT.AND": "integers and logic", "BAR.SYNC": "control",
        "HMMA.1688.F32.TF32": "tensor cores",
    }  # fmt: skip
    assert {operation: machine.pipe_of(operation)[0] for operation in expected} == expected


def test_times_are_those_of_the_busiest(source: Path) -> None:
    root = Region("all", "kernel(const", children=(Region("loop", "for (int d = 0", trips=1000, unit=("FADD", 1)),))
    parts = regions.count(code(), source, root)
    slots = sum(n for part in parts for _, n in part.instructions)

    def time(**changes: float) -> launches.Time:
        blocks = machine.MULTIPROCESSORS * 100
        launch = Launch("kernel.cu", "kernel", root, **{"blocks": blocks, "threads": 256, **changes})  # type: ignore[arg-type]
        return launches.time(launch, parts, resident=8)

    issued = 100 * 8 * slots / machine.CLOCK
    assert time().least == pytest.approx(issued / 4)
    assert time().usual == pytest.approx(issued / machine.USUAL_ISSUE)
    assert time().limit == "instructions"
    assert time(bytes=4.3e12).usual == pytest.approx(1)
    assert time(bytes=4.3e12).limit == "device memory"
    one = time(blocks=1, waits=1e6)
    assert one.limit == "waiting"
    assert one.least == pytest.approx((1e6 + 8 * slots / 2) / machine.CLOCK)  # eight warps issue two a cycle


def test_what_is_too_much_is_said() -> None:
    found = {"kernel": {"loop": 1.5, "all": 5.0}}
    assert predict.faults(found, found) == []
    assert predict.faults(found, {"kernel": {"loop": 1.4, "gone": 1}}) == [
        f"kernel: loop must take at most 1.4 instructions, takes 1.5 ({predict.REGENERATE} if that is argued for)",
        f"kernel: all must have a ceiling, has none ({predict.REGENERATE})",
        f"kernel: gone has a ceiling, but is not there ({predict.REGENERATE})",
    ]


def test_a_file_that_holds_no_ceilings_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("[]")
    with pytest.raises(ValueError, match=r"must be a file of ceilings .+ got: "):
        predict.load(tmp_path / "x.json")


def test_large_searches_are_cut_into_launches() -> None:
    """As launch_in_parts() cuts them: 2^37 steps a launch."""
    assert knn(32, 1024, 1024, 3, 20)[0].times == 1
    (launch,) = knn(1, 1_000_000, 1_000_000, 3, 16)
    assert launch.times == -(-launch.blocks // ((1 << 37) // (16 * 1_000_000 * 11)))


@needs_tools
def test_planted_instructions_are_found(tmp_path: Path) -> None:
    """A root for every candidate of a ball query; and a prediction is the same in every run."""
    for folder in ("csrc", "tools", "benchmarks"):
        ignored = shutil.ignore_patterns("__pycache__", "results")
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=ignored)

    def run() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(tmp_path / "tools" / "predict.py"), "--only", "ball_query"]
        environment = {**os.environ, "PYTHONPATH": str(Path(pointkernels.__file__).parents[1])}
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)

    before, again = run(), run()
    assert (before.returncode, before.stdout) == (0, again.stdout), before.stdout + before.stderr
    assert before.stdout.endswith("operators: 0 above their ceilings; predicted, not measured\n")
    path = tmp_path / "csrc" / "cuda" / "ball_query.cu"
    text, admitted = path.read_text(), "candidate && distance < task.squared_radius"
    assert text.count(admitted) == 1
    path.write_text(text.replace(admitted, "candidate && sqrt(distance) * distance < task.squared_radius"))
    after = run()
    if "are not held" in after.stdout:
        pytest.skip("the ceilings are for another nvcc")
    assert after.returncode == 1, after.stdout + after.stderr
    assert "failed: ball_query_kernel<float>: candidates must take at most" in after.stdout
