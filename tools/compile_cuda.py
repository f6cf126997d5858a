"""Compile every CUDA source for every target, warnings as errors, and print what each kernel uses.

    python tools/compile_cuda.py [--targets 75 90] [--json usage.json] [csrc/cuda/knn.cu ...]

Nothing is kept: this tells whether the CUDA code compiles, on machines without a GPU too. Register spills are warnings.
Where torch is installed, the operator files beside the kernels are checked as well. Needs only Python and the CUDA
toolkit; without nvcc it says so and succeeds.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
SOURCES = REPOSITORY / "csrc" / "cuda"
TARGETS = (75, 80, 86, 89, 90, 100, 120)
# As setup.py builds them, and with warnings as errors.
NVCC_FLAGS = ("-std=c++17", "-O3", "-lineinfo", "--fmad=false", "-Werror", "all-warnings", "-Xptxas", "-v,-warn-spills")
HOST_FLAGS = ("-Xcompiler", "-Wall,-Wextra,-Werror")
# Version 2.10 of torch's stable interface, as in the build.
BINDING_FLAGS = ("-std=c++17", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-DUSE_CUDA")
TORCH_TARGET = "-DTORCH_TARGET_VERSION=0x020a000000000000"


@dataclass(frozen=True)
class Usage:
    """What one kernel needs on one target; sizes in bytes, registers and stack per thread, shared memory per block."""

    source: str
    kernel: str
    target: int
    registers: int
    stack: int
    spill_stores: int
    spill_loads: int
    shared: int


@dataclass(frozen=True)
class Outcome:
    """One compiler call."""

    what: str
    succeeded: bool
    output: str
    usages: tuple[Usage, ...] = ()


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


def supported_targets(nvcc: str) -> set[int]:
    """Compute capabilities that this nvcc can compile for, as 75 for 7.5."""
    listed = subprocess.run([nvcc, "--list-gpu-code"], capture_output=True, text=True, check=True).stdout
    return {int(number) for number in re.findall(r"^sm_(\d+)$", listed, re.MULTILINE)}


def demangle(names: list[str], root: Path) -> list[str]:
    """Kernel names without namespaces and parameters, or as they are where no demangler is found."""
    tool = shutil.which("cu++filt", path=str(root / "bin")) or shutil.which("c++filt")
    if tool is None or not names:
        return names
    lines = subprocess.run([tool], input="\n".join(names), capture_output=True, text=True, check=True).stdout.split(
        "\n"
    )
    return [
        re.sub(r"^void |\([^()]*\)$", "", line.replace("(anonymous namespace)", "")).split("::")[-1] for line in lines
    ][: len(names)]


def parse_usage(source: str, target: int, output: str, root: Path) -> tuple[Usage, ...]:
    """Reads ptxas' report, in which each kernel's numbers follow the line that names it."""
    parts = re.split(r"Compiling entry function '(\S+)' for 'sm_\d+'", output)
    names = demangle(parts[1::2], root)

    def number(pattern: str, text: str) -> int:
        found = re.search(pattern, text)
        return int(found[1]) if found else 0

    return tuple(
        Usage(
            source=source,
            kernel=name,
            target=target,
            registers=number(r"Used (\d+) registers", text),
            stack=number(r"(\d+) bytes stack frame", text),
            spill_stores=number(r"(\d+) bytes spill stores", text),
            spill_loads=number(r"(\d+) bytes spill loads", text),
            shared=number(r"(\d+) bytes smem", text),
        )
        for name, text in zip(names, parts[2::2], strict=True)
    )


def compile_kernels(nvcc: str, root: Path, source: Path, target: int, with_host_code: bool) -> Outcome:
    """Compiles one source for one target; the host code, the same for all targets, only where asked for."""
    with tempfile.TemporaryDirectory() as folder:
        command = [nvcc, *NVCC_FLAGS, "-gencode", f"arch=compute_{target},code=sm_{target}", str(source)]
        command += [*HOST_FLAGS, "-c"] if with_host_code else ["-cubin"]
        done = subprocess.run([*command, "-o", f"{folder}/out"], capture_output=True, text=True)
    output = done.stdout + done.stderr
    usages = parse_usage(source.name, target, output, root) if done.returncode == 0 else ()
    return Outcome(f"{source.name} for sm_{target}", done.returncode == 0, output, usages)


def check_binding(root: Path, torch_include: Path, source: Path) -> Outcome:
    """Compiles one operator file, without code generation."""
    includes = ["-isystem", str(torch_include), "-isystem", str(root / "include")]
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


def print_table(usages: list[Usage], targets: list[int]) -> None:
    """One line a kernel, one column a target: registers, then stack (f) and spill (s) bytes where there are any."""

    def cell(usage: Usage) -> str:
        spills = usage.spill_stores + usage.spill_loads
        return f"{usage.registers}" + (f" f{usage.stack}" if usage.stack else "") + (f" s{spills}" if spills else "")

    by_kernel: dict[tuple[str, str], dict[int, Usage]] = {}
    for usage in usages:
        by_kernel.setdefault((usage.source, usage.kernel), {})[usage.target] = usage
    head = ["kernel", "shared", *(f"sm_{target}" for target in targets)]
    rows = [
        [kernel, str(max(usage.shared for usage in found.values()))]
        + [cell(found[target]) if target in found else "-" for target in targets]
        for (_, kernel), found in sorted(by_kernel.items())
    ]
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    print("registers, f: stack bytes, s: spilled bytes, per thread; shared: static bytes per block")
    for row in [head, *rows]:
        print(
            "  ".join(
                text.ljust(width) if n == 0 else text.rjust(width)
                for n, (text, width) in enumerate(zip(row, widths, strict=True))
            )
        )


def main() -> int:
    """Runs the command line tool and returns its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="*", type=Path, help="CUDA sources; all of csrc/cuda when none is named")
    parser.add_argument(
        "--targets", nargs="+", type=int, default=list(TARGETS), help="compute capabilities, 75 for 7.5"
    )
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    arguments = parser.parse_args()

    nvcc = find_nvcc()
    if nvcc is None:
        print("skipped: no nvcc")
        return 0
    started = time.monotonic()
    root = toolkit_root(nvcc)
    targets = [target for target in arguments.targets if target in supported_targets(nvcc)]
    for target in sorted(set(arguments.targets) - set(targets)):
        print(f"skipped: sm_{target}, which {root} does not know")
    if not targets:
        return 0

    sources = arguments.sources or sorted(SOURCES.glob("*.cu"))
    torch_include = torch_include_folder()
    bindings = [] if arguments.sources else sorted(SOURCES.glob("*_binding.cpp"))
    if bindings and torch_include is None:
        print("skipped: operator files, since torch is not installed")
        bindings = []
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        running = [
            pool.submit(compile_kernels, nvcc, root, source, target, target == targets[0])
            # The largest first, so that no processor is left with one of them at the end.
            for source in sorted(sources, key=lambda path: -path.stat().st_size)
            for target in targets
        ]
        if torch_include is not None:
            running += [pool.submit(check_binding, root, torch_include, source) for source in bindings]
        outcomes = [future.result() for future in running]

    usages = [usage for outcome in outcomes for usage in outcome.usages]
    print_table(usages, targets)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps([asdict(usage) for usage in usages], indent=1) + "\n")
    failures = [outcome for outcome in outcomes if not outcome.succeeded]
    for outcome in failures:
        print(f"\nfailed: {outcome.what}\n{outcome.output}")
    kinds = f"{len(sources)} sources for {len(targets)} targets and {len(bindings)} operator files"
    print(f"{kinds}: {len(failures)} failed, {time.monotonic() - started:.0f} s")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
