"""Finds the CUDA toolkit's tools."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sysconfig
from collections.abc import Iterator
from pathlib import Path


def find_nvcc() -> str | None:
    """The compiler on PATH, or the one under CUDA_HOME or /usr/local/cuda."""
    homes = [os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), "/usr/local/cuda"]
    candidates = [shutil.which("nvcc"), *(shutil.which("nvcc", path=f"{home}/bin") for home in homes if home)]
    return next((candidate for candidate in candidates if candidate), None)


def toolkit_root(nvcc: str) -> Path:
    """The folder with the toolkit's bin and include; nvcc itself knows it even where PATH leads to a wrapper."""
    dry_run = subprocess.run([nvcc, "--dryrun", "-c", "none.cu"], capture_output=True, text=True).stderr
    top = re.search(r"^#\$ TOP=(.+)$", dry_run, re.MULTILINE)
    return Path(top[1].strip()).resolve() if top else Path(nvcc).resolve().parent.parent


def nvcc_version(nvcc: str) -> str:
    """Major and minor version, as in "13.0"; code generation changes between them."""
    printed = subprocess.run([nvcc, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"release (\d+\.\d+)", printed)
    return found[1] if found else "unknown"


def supported_targets(nvcc: str) -> set[int]:
    """Compute capabilities that this nvcc can compile for, as 75 for 7.5."""
    listed = subprocess.run([nvcc, "--list-gpu-code"], capture_output=True, text=True, check=True).stdout
    return {int(number) for number in re.findall(r"^sm_(\d+)$", listed, re.MULTILINE)}


def find_nvdisasm(root: Path) -> str | None:
    """The disassembler of the toolkit, on PATH, or of the wheels that carry one (nvidia-cuda-nvdisasm, triton)."""

    def candidates() -> Iterator[Path]:
        yield root / "bin" / "nvdisasm"
        on_path = shutil.which("nvdisasm")
        if on_path is not None:
            yield Path(on_path)
        packages = Path(sysconfig.get_path("platlib"))
        yield from sorted(packages.glob("nvidia/*/bin/nvdisasm"), reverse=True)
        yield packages / "triton" / "backends" / "nvidia" / "bin" / "nvdisasm"

    return next((str(path) for path in candidates() if os.access(path, os.X_OK)), None)


def demangle(names: list[str], root: Path) -> list[str]:
    """Kernel names without namespaces and parameters, or as they are where no demangler is found."""
    tool = shutil.which("cu++filt", path=str(root / "bin")) or shutil.which("c++filt")
    if tool is None or not names:
        return names
    done = subprocess.run([tool], input="\n".join(names), capture_output=True, text=True, check=True)
    return [
        re.sub(r"^void |\([^()]*\)$", "", line.replace("(anonymous namespace)", "")).split("::")[-1]
        for line in done.stdout.split("\n")
    ][: len(names)]
