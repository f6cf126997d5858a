"""The build: what it reports, which instruction sets, and that no code for one machine leaks into another's."""

from __future__ import annotations

import os
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils import cpp_extension

from pointkernels import build_info

ROOT = Path(__file__).resolve().parent.parent


def run_module(**environment: str) -> str:
    command = [sys.executable, "-m", "pointkernels"]
    result = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, **environment})
    return result.stdout


def test_build_information_is_printed() -> None:
    printed = run_module()
    info = build_info()
    assert info["version"] in printed
    assert f"CPU instruction set in use  {info['isas_usable'][-1]}" in printed


def test_runs_in_the_folder_of_the_repository() -> None:
    """Where the sources hide the installed package."""
    command = [sys.executable, "-m", "pointkernels"]
    result = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert result.stdout == run_module()


@pytest.mark.parametrize("isa", build_info()["isas_usable"])
def test_environment_variable_limits_the_instruction_set(isa: str) -> None:
    assert f"CPU instruction set in use  {isa}\n" in run_module(POINTKERNELS_ISA=isa)


@pytest.mark.skipif(shutil.which("g++") is None or shutil.which("nm") is None, reason="needs g++ and nm")
@pytest.mark.parametrize("isa", ["scalar", "avx2", "avx512"])
def test_isa_objects_export_only_their_tables(isa: str, tmp_path: Path) -> None:
    """A weak symbol compiled for AVX-512 could become the copy that every machine runs."""
    target = tmp_path / "isa.o"
    source = ROOT / "csrc" / "cpu" / "builds" / f"isa_{isa}.cpp"
    subprocess.run(["g++", "-std=c++17", "-O1", "-c", source, "-o", target], check=True)
    command = ["nm", "-C", "--defined-only", "--extern-only", target]  # address, kind, name; weak ones included
    symbols = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    names = {line.split(maxsplit=2)[2] for line in symbols}
    assert names == {f"pointkernels::k{isa.capitalize()}{kind}" for kind in ("Float", "Double")}


@pytest.fixture
def setup_py(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], dict[str, Any]]:
    """Runs setup.py as when it is asked for metadata, with a torch that says it has some CUDA."""
    for variable in ("CUDA_HOME", "CUDA_PATH", "TORCH_CUDA_ARCH_LIST", "POINTKERNELS_CUDA"):
        monkeypatch.setenv(variable, "")  # so that it is as before afterwards
        monkeypatch.delenv(variable)
    monkeypatch.setattr(cpp_extension, "CUDA_HOME", None)
    monkeypatch.setattr(sys, "argv", ["setup.py", "--name"])
    monkeypatch.chdir(ROOT)

    def run(cuda: str) -> dict[str, Any]:
        monkeypatch.setattr(torch.version, "cuda", cuda)
        return runpy.run_path("setup.py")

    return run


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="needs nvcc")
def test_cuda_build_is_described_for_nvcc(setup_py: Callable[[str], dict[str, Any]]) -> None:
    """Also with a torch for CPU only. To nvcc, -DNAME=7.5,8.0 is two definitions, the second of them an error."""
    built = setup_py(toolkit_version())
    assert built["DESCRIPTION"].startswith("CPU and CUDA 7.5;8.0")
    arguments = built["EXTENSION"].extra_compile_args
    assert not any("," in argument for argument in arguments["nvcc"])
    assert any(argument.startswith("-DPOINTKERNELS_CUDA_ARCHITECTURES=7.5,8.0") for argument in arguments["cxx"])
    sources = set(built["EXTENSION"].sources)
    assert {"csrc/cuda/knn.cu", "csrc/cuda/knn_binding.cpp", "csrc/cpu/search/knn.cpp"} <= sources


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="needs nvcc")
def test_toolkit_of_another_cuda_than_torchs(
    setup_py: Callable[[str], dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Torch would refuse it in the middle of a build."""
    built = setup_py("9.2")
    sentence = rf"the toolkit must have the major version of torch's CUDA, 9.2, got {toolkit_version()} in .+"
    assert re.fullmatch(rf"CPU only \({sentence}\)", built["DESCRIPTION"])
    assert not any(source.startswith("csrc/cuda/") for source in built["EXTENSION"].sources)
    monkeypatch.setenv("POINTKERNELS_CUDA", "1")
    with pytest.raises(SystemExit, match=f"POINTKERNELS_CUDA=1 asks for a build with CUDA, but {sentence}"):
        setup_py("9.2")


def test_a_cuda_home_without_a_compiler(
    setup_py: Callable[[str], dict[str, Any]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    sentence = f"CUDA_HOME must be a folder with bin/nvcc in it, got {tmp_path}"
    assert setup_py("13.0")["DESCRIPTION"] == f"CPU only ({sentence})"
    monkeypatch.setenv("POINTKERNELS_CUDA", "1")
    with pytest.raises(SystemExit, match=f"POINTKERNELS_CUDA=1 asks for a build with CUDA, but {re.escape(sentence)}"):
        setup_py("13.0")


def test_fast_mathematics_is_refused(
    setup_py: Callable[[str], dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NVCC_APPEND_FLAGS", "-O3 --use_fast_math")
    with pytest.raises(
        SystemExit, match="NVCC_APPEND_FLAGS must not ask for fast mathematics, got '-O3 --use_fast_math'"
    ):
        setup_py("13.0")


def toolkit_version() -> str:
    printed = subprocess.run(["nvcc", "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"release (\d+\.\d+)", printed)
    assert found is not None
    return found[1]
