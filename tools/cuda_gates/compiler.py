"""Compiles the CUDA sources, and collects what the compiler and the machine code say about each kernel."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from cuda_gates import cubin, rules
from cuda_gates.disassembly import disassemble
from cuda_gates.toolkit import demangle

# As setup.py builds them, and with warnings as errors.
NVCC_FLAGS = ("-std=c++17", "-O3", "-lineinfo", "--fmad=false", "-Werror", "all-warnings", "-Xptxas", "-v")
HOST_FLAGS = ("-Xcompiler", "-Wall,-Wextra,-Werror")
# Version 2.10 of torch's stable interface, as in the build.
BINDING_FLAGS = ("-std=c++17", "-Wall", "-Wextra", "-Werror", "-fvisibility=hidden", "-fsyntax-only", "-DUSE_CUDA")
TORCH_TARGET = "-DTORCH_TARGET_VERSION=0x020a000000000000"


@dataclass(frozen=True)
class Usage:
    """What one kernel needs on one target.

    Attributes:
        source: name of the file.
        kernel: name with template arguments.
        target: compute capability, 75 for 7.5.
        registers: of a thread.
        stack: bytes of a thread in local memory, spilled registers among them.
        spills: bytes stored and loaded because registers did not suffice.
        shared: static bytes of a block.
        code: bytes of machine code.
        threads: of a block, at most, as __launch_bounds__ says; None without.
    """

    source: str
    kernel: str
    target: int
    registers: int
    stack: int
    spills: int
    shared: int
    code: int
    threads: int | None


@dataclass(frozen=True)
class Outcome:
    """One compiler call: whether it succeeded, what it printed, and the rules that its code breaks."""

    what: str
    succeeded: bool
    output: str = ""
    usages: tuple[Usage, ...] = ()
    broken_rules: tuple[str, ...] = field(default=())


def parse_usage(source: str, target: int, output: str, code: dict[str, cubin.Code], root: Path) -> tuple[Usage, ...]:
    """Reads ptxas' report, in which each kernel's numbers follow the line that names it."""
    parts = re.split(r"Compiling entry function '(\S+)' for 'sm_\d+'", output)
    mangled = parts[1::2]

    def number(pattern: str, text: str) -> int:
        found = re.search(pattern, text)
        return int(found[1]) if found else 0

    return tuple(
        Usage(
            source=source,
            kernel=kernel,
            target=target,
            registers=number(r"Used (\d+) registers", text),
            stack=number(r"(\d+) bytes stack frame", text),
            spills=number(r"(\d+) bytes spill stores", text) + number(r"(\d+) bytes spill loads", text),
            shared=number(r"(\d+) bytes smem", text),
            code=code[name].size,
            threads=code[name].max_threads,
        )
        for name, kernel, text in zip(mangled, demangle(mangled, root), parts[2::2], strict=True)
    )


@dataclass(frozen=True)
class Compiler:
    """Paths of the tools; without nvdisasm the rules on instructions are not checked."""

    nvcc: str
    root: Path
    nvdisasm: str | None

    def kernels(self, source: Path, target: int, with_host_code: bool) -> Outcome:
        """Compiles one source for one target; the host code, the same for all targets, only where asked for."""
        what = f"{source.name} for sm_{target}"
        with tempfile.TemporaryDirectory() as folder:
            command = [self.nvcc, *NVCC_FLAGS, "-gencode", f"arch=compute_{target},code=sm_{target}", str(source)]
            if with_host_code:  # its compilation leaves the cubin among the files that are kept
                command += [*HOST_FLAGS, "-c", "-o", f"{folder}/out.o", "--keep", "--keep-dir", folder]
            else:
                command += ["-cubin", "-o", f"{folder}/out.cubin"]
            done = subprocess.run(command, capture_output=True, text=True)
            output = done.stdout + done.stderr
            if done.returncode != 0:
                return Outcome(what, False, output)
            (image,) = Path(folder).glob("*.cubin")
            usages = parse_usage(source.name, target, output, cubin.kernels(image), self.root)
            return Outcome(what, True, output, usages, self._broken_rules(image, target))

    def _broken_rules(self, image: Path, target: int) -> tuple[str, ...]:
        if self.nvdisasm is None:
            return ()
        listings = disassemble(self.nvdisasm, image)
        names = demangle(list(listings), self.root)
        return tuple(
            fault
            for kernel, listing in zip(names, listings.values(), strict=True)
            for fault in rules.broken(kernel, target, listing)
        )

    def binding(self, torch_include: Path, source: Path) -> Outcome:
        """Compiles one operator file, without code generation."""
        includes = ["-isystem", str(torch_include), "-isystem", str(self.root / "include")]
        command = [os.environ.get("CXX", "g++"), *BINDING_FLAGS, TORCH_TARGET, *includes, str(source)]
        done = subprocess.run(command, capture_output=True, text=True)
        return Outcome(source.name, done.returncode == 0, done.stdout + done.stderr)


def torch_include_folder() -> Path | None:
    """Where the headers of the installed torch are; torch itself is not imported."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent / "include"
    return folder if folder.is_dir() else None
