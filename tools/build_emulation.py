"""Compile CUDA sources with g++ into a library that runs them on the CPU (see csrc/emulation).

    python tools/build_emulation.py --folder build/emulation [--architecture 75] [--check sanitizers] [source.cu ...]

Without sources: the operators of csrc/cuda, their own files included, which needs torch's headers and library; given
sources need nothing but g++ (or what CXX names). Prints the library's path. Linux only; no CUDA toolkit is used.
Objects and libraries are named by what went into them, so nothing is built that is there already.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import importlib.util
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
CSRC = REPOSITORY / "csrc"
SHIM = CSRC / "emulation"
SHARED_MEMORY = SHIM / "shared_memory.ld"
OPERATORS = SHIM / "operators.cpp"
SUFFIXES = {".cpp", ".cu", ".cuh", ".h", ".ld"}
COMPILER = os.environ.get("CXX", "g++")

# As nvcc gets them where they matter: the same language, and nothing fused that the source does not fuse.
FLAGS = ["-std=c++17", "-g1", "-fPIC", "-ffp-contract=off", "-fvisibility=hidden"]
FLAGS += ["-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas"]
FLAGS += [f"-I{SHIM.relative_to(REPOSITORY)}"]
# Short paths in messages, whatever the folder; so copies of the repository can share what is built.
SHORT_PATHS = f"-fdebug-prefix-map={REPOSITORY}=."
# Version 2.10 of torch's stable interface, as in the build; the functions for CUDA are declared only with USE_CUDA.
TORCH_FLAGS = ["-DTORCH_TARGET_VERSION=0x020a000000000000", "-DUSE_CUDA"]


@dataclass(frozen=True)
class Check:
    """Flags for every source, for the CUDA sources alone, and for linking. Checking the emulation itself costs time."""

    every: tuple[str, ...] = ()
    cuda: tuple[str, ...] = ()
    link: tuple[str, ...] = ()


SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
CHECKS = {
    "none": Check(),
    "sanitizers": Check(every=("-DPK_EMULATION_SANITIZED",), cuda=SANITIZERS, link=SANITIZERS),
    # See csrc/emulation/races.h: the compiler's calls go to our own functions.
    "races": Check(every=("-DPK_EMULATION_RACES",), cuda=("-fsanitize=thread",)),
    "counters": Check(every=("-DPK_EMULATION_COUNTERS",), cuda=("-fsanitize=thread",)),
}


def torch_folder() -> Path:
    """Where torch is installed; it is not imported."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        sys.exit("the operators of csrc/cuda need torch's headers, but torch is not installed")
    return Path(spec.origin).parent


def sources_of(given: list[Path], check: str) -> list[Path]:
    """Everything to be compiled, the largest first: CUDA sources, operator files, and the emulation."""
    chosen = given or [*(CSRC / "cuda").glob("*.cu"), *(CSRC / "cuda").glob("*_binding.cpp")]
    left_out = set() if given == [] else {OPERATORS}
    if check not in ("races", "counters"):
        left_out.add(SHIM / "access_hooks.cpp")
    left_out |= {SHIM / f"{other}.cpp" for other in ("races", "counters") if other != check}
    sources = [path.resolve() for path in chosen] + [path for path in SHIM.glob("*.cpp") if path not in left_out]
    return sorted(sources, key=lambda path: (path.suffix != ".cu", -path.stat().st_size))


def command_for(source: Path, architecture: int, check: str) -> list[str]:
    """A compiler call without its output, run in the repository so that messages have short paths."""
    flags = [COMPILER, *FLAGS]
    if source.suffix == ".cu":
        flags += [f"-D__CUDA_ARCH__={architecture}0", "-O1", "-fdata-sections", *CHECKS[check].every]
        flags += CHECKS[check].cuda
    elif source == OPERATORS or source.name.endswith("_binding.cpp"):
        # The same for every architecture and check, so that they are compiled once.
        include = torch_folder() / "include"
        header = (SHIM / "operators.h").relative_to(REPOSITORY)
        flags += [*TORCH_FLAGS, "-O1", f"-isystem{include}", "-include", str(header)]
    else:
        flags += ["-O2", *CHECKS[check].every]
    return [*flags, "-x", "c++", "-c", os.path.relpath(source, REPOSITORY)]


@cache
def compiler_version() -> bytes:
    """What the compiler says of itself."""
    return subprocess.run([COMPILER, "--version"], capture_output=True, check=True).stdout


def fingerprint(parts: list[str], folders: set[Path]) -> str:
    """Changes with the compiler, the parts and every source of the folders."""
    digest = hashlib.sha256(compiler_version() + repr(parts).encode())
    for path in sorted(path for folder in folders for path in folder.iterdir() if path.suffix in SUFFIXES):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def object_of(source: Path, folder: Path, command: list[str]) -> Path:
    """Compiles a source unless that has been done. Includes lie beside the source or in csrc."""
    # shared_memory.ld knows the kernels by the names of their object files.
    name = fingerprint(command, {source.parent, CSRC / "common", CSRC / "cuda", SHIM})
    compiled = folder / f"{source.stem}-{name}{source.suffix}.o"
    if not compiled.exists():
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            output = Path(temporary, "out.o")
            command = [*command, SHORT_PATHS, "-o", str(output)]
            subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
            output.rename(compiled)  # atomic: no one ever sees half a file
    return compiled


def build(folder: Path, architecture: int, check: str, given: list[Path]) -> Path:
    """Builds the library unless it is there, and returns its path.

    Raises:
        subprocess.CalledProcessError: the compiler found something wrong; `stderr` says what.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests in several processes build once; the others wait
        return build_locked(folder, architecture, check, given)


def build_locked(folder: Path, architecture: int, check: str, given: list[Path]) -> Path:
    """As `build`, in a folder that no other process builds in."""
    sources = sources_of(given, check)
    with ThreadPoolExecutor(max_workers=len(os.sched_getaffinity(0))) as pool:
        running = [pool.submit(object_of, s, folder, command_for(s, architecture, check)) for s in sources]
        objects = [str(future.result()) for future in running]
    link = [COMPILER, "-shared", *CHECKS[check].link, "-Wl,-z,defs", "-Wl,-Bsymbolic", f"-Wl,-T,{SHARED_MEMORY}"]
    libraries = ["-ldl"] if given else ["-ldl", f"-L{torch_folder() / 'lib'}", "-ltorch_cpu", "-lc10"]
    command = [*link, *objects, *libraries]
    library = folder / f"sm{architecture}-{check}-{fingerprint(command, {SHIM})}.so"
    if not library.exists():
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            output = Path(temporary, "library.so")
            subprocess.run([*command, "-o", output], capture_output=True, text=True, check=True)
            output.rename(library)
    return library


def main() -> int:
    """Runs the command line tool and returns its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="*", type=Path, help="CUDA sources; the operators when none is named")
    parser.add_argument("--folder", type=Path, required=True, help="where objects and libraries are kept")
    parser.add_argument("--architecture", type=int, default=90, help="compute capability, 75 for 7.5")
    parser.add_argument("--check", choices=CHECKS, default="none")
    arguments = parser.parse_args()
    try:
        print(build(arguments.folder, arguments.architecture, arguments.check, arguments.sources))
    except subprocess.CalledProcessError as error:
        print(error.stderr, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
