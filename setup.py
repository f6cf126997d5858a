"""What only code can say: which sources to build, and whether with CUDA. Everything else is in pyproject.toml."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

try:
    import pybind11
    import torch
    from torch.utils import cpp_extension
except ModuleNotFoundError as error:  # a source distribution is made without them; build_extensions says the rest
    LACKING = str(error)
else:
    LACKING = ""

ROOT = Path(__file__).parent
VERSION = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE).group(1)

# The oldest torch whose stable interface has all that csrc uses; the binary loads in it and in any later one.
TORCH_TARGET_VERSION = "0x020a000000000000"  # 2.10
# From Turing on; a toolkit compiles those it knows.
CUDA_ARCHITECTURES = ["7.5", "8.0", "8.6", "8.9", "9.0", "10.0", "12.0"]


def cuda_home() -> Path | None:
    """The toolkit's folder. Torch guesses it from where nvcc lies; where that is a wrapper, nvcc itself knows."""
    for variable in ("CUDA_HOME", "CUDA_PATH"):
        if os.environ.get(variable):
            return Path(os.environ[variable])
    nvcc = shutil.which("nvcc")
    candidates = [Path("/usr/local/cuda")]
    if nvcc:
        dry_run = subprocess.run([nvcc, "--dryrun", "-c", "none.cu"], capture_output=True, text=True).stderr
        top = re.search(r"^#\$ TOP=(.+)$", dry_run, re.MULTILINE)
        candidates = [
            *([Path(top[1].strip()).resolve()] if top else []),
            Path(nvcc).resolve().parent.parent,
            *candidates,
        ]
    for candidate in candidates:
        if (candidate / "bin" / "nvcc").exists() and (candidate / "include" / "cuda_runtime.h").exists():
            return candidate
    return None


def default_architectures(home: Path) -> list[str]:
    """The architectures of CUDA_ARCHITECTURES that this toolkit compiles for."""
    listed = subprocess.run([home / "bin" / "nvcc", "--list-gpu-arch"], capture_output=True, text=True, check=True)
    known = {line.removeprefix("compute_") for line in listed.stdout.split()}
    return [architecture for architecture in CUDA_ARCHITECTURES if architecture.replace(".", "") in known]


def toolkit_version(home: Path) -> str:
    """As in "13.0"."""
    printed = subprocess.run([home / "bin" / "nvcc", "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"release (\d+\.\d+)", printed)
    return found[1] if found else "unknown"


def choose_cuda() -> tuple[Path | None, str]:
    """The toolkit to build the CUDA part with, or None, and the reason in words."""
    for variable in ("NVCC_PREPEND_FLAGS", "NVCC_APPEND_FLAGS"):
        if re.search(r"use_fast_math|-ftz=true|--ftz true", os.environ.get(variable, "")):
            sys.exit(f"{variable} must not ask for fast mathematics, got {os.environ[variable]!r}")
    wanted = os.environ.get("POINTKERNELS_CUDA", "")
    if wanted not in ("", "0", "1"):
        sys.exit(f"POINTKERNELS_CUDA must be 0 or 1, got {wanted!r}")
    if wanted == "0":
        return None, "POINTKERNELS_CUDA=0"
    home = cuda_home()
    if torch.version.cuda is None:
        home, reason = None, f"torch {torch.__version__} has no CUDA"
    elif home is None:
        reason = "no CUDA toolkit found; set CUDA_HOME to build with CUDA"
    elif not (home / "bin" / "nvcc").exists():
        home, reason = None, f"CUDA_HOME must be a folder with bin/nvcc in it, got {home}"
    elif (version := toolkit_version(home)).split(".")[0] != torch.version.cuda.split(".")[0]:
        reason = (
            f"the toolkit must have the major version of torch's CUDA, {torch.version.cuda}, "
            f"got {version} in {home}; set CUDA_HOME to one that has"
        )
        home = None
    else:
        reason = f"torch {torch.__version__} has CUDA {torch.version.cuda}, toolkit in {home}"
    if wanted == "1" and home is None:
        sys.exit(f"POINTKERNELS_CUDA=1 asks for a build with CUDA, but {reason}")
    return home, reason


def progress(lines: Iterable[str]) -> Iterator[str]:
    """Ninja's output, with a file's name and the time in place of the whole command once it is compiled.

    All else stays: warnings, and of a file that fails the command, which ninja prints again.
    """
    started = time.monotonic()
    for line in lines:
        done = re.match(r"(\[\d+/\d+\]) .* -c (?:-o \S+ )?(\S+\.(?:cpp|cu))\b", line)
        seconds = time.monotonic() - started
        yield f"{done[1]} {seconds:.0f} s: {os.path.relpath(done[2], ROOT)}\n" if done else line


@contextlib.contextmanager
def shown_progress() -> Iterator[None]:
    """Sends what this process and those it starts write to standard output through `progress`, line by line."""
    sys.stdout.flush()
    kept = os.dup(1)
    reading, writing = os.pipe()
    os.dup2(writing, 1)
    os.close(writing)

    def pass_on() -> None:
        with open(reading, errors="replace") as lines:  # noqa: PTH123  (a descriptor)
            for line in progress(lines):
                os.write(kept, line.encode())

    thread = threading.Thread(target=pass_on, daemon=True)
    thread.start()
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        # The thread ends with the pipe's last writer; a server of a compiler cache may have kept it open.
        thread.join(timeout=10)


class BuildExtension(build_ext if LACKING else cpp_extension.BuildExtension):
    """What is done once, and only where something is compiled."""

    def build_extensions(self) -> None:
        if LACKING:
            sys.exit(
                f"building pointkernels needs torch 2.10 or later and pybind11, got: {LACKING}; install them first"
            )
        if tuple(map(int, torch.__version__.split(".")[:2])) < (2, 10):
            sys.exit(f"building pointkernels needs torch 2.10 or later, got {torch.__version__}: pip install -U torch")
        print(f"pointkernels: building for {DESCRIPTION}", flush=True)
        self.find_pybind11_first()
        with shown_progress():
            super().build_extensions()

    def find_pybind11_first(self) -> None:
        """Has pybind11's own headers found before torch's copies, of which some versions refuse TORCH_TARGET_VERSION.

        They are reached by a link: where builds are isolated pybind11 lies in another folder each time, and a compiler
        command that is not the last one's compiles everything anew.
        """
        link = Path(self.build_temp).resolve() / "pybind11"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(pybind11.get_include(), target_is_directory=True)
        for extension in self.extensions:
            extension.extra_compile_args["cxx"].insert(0, f"-isystem{link}")


def extension() -> tuple[Any, str]:
    """`pointkernels._C`, with the CUDA kernels where that is possible; and in words what it is built for, and why."""
    home, reason = choose_cuda()
    sources = [ROOT / "csrc" / "library.cpp", ROOT / "csrc" / "module.cpp", *(ROOT / "csrc" / "cpu").rglob("*.cpp")]
    defines = {"TORCH_TARGET_VERSION": TORCH_TARGET_VERSION, "POINTKERNELS_VERSION": VERSION}
    # -ffp-contract=off: the compiler may not fuse what the source does not, or indices would differ between builds.
    cxx = ["-std=c++17", "-O3", "-g0", "-ffp-contract=off", "-fvisibility=hidden", "-Wall", "-Wextra"]
    # As system headers, torch's own give no warnings (GCC then ignores the plain -I of the same folder).
    cxx += [f"-isystem{folder}" for folder in cpp_extension.include_paths()]
    if os.environ.get("POINTKERNELS_WERROR") == "1":
        cxx.append("-Werror")
    sanitizers = os.environ.get("POINTKERNELS_SANITIZE", "")  # as in address,undefined: see tools/sanitize_cpu.sh
    if sanitizers:
        cxx[cxx.index("-O3")], cxx[cxx.index("-g0")] = "-O1", "-g1"
        cxx += [f"-fsanitize={sanitizers}", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"]
        # AddressSanitizer finds these, too; a fifth of the time that compiling takes.
        cxx.append("-fno-sanitize=vptr,null,object-size")
    nvcc = ["-std=c++17", "-O3", "-lineinfo", "--fmad=false"]
    if home is None:
        make = cpp_extension.CppExtension
        defines |= {"POINTKERNELS_CUDA_VERSION": "", "POINTKERNELS_CUDA_ARCHITECTURES": ""}
        description = f"CPU only ({reason})"
    else:
        # Torch reads the folder once, when it is imported.
        cpp_extension.CUDA_HOME = os.environ["CUDA_HOME"] = str(home)
        if "TORCH_CUDA_ARCH_LIST" not in os.environ:
            os.environ["TORCH_CUDA_ARCH_LIST"] = ";".join(default_architectures(home)) + "+PTX"
        architectures = os.environ["TORCH_CUDA_ARCH_LIST"]
        make = cpp_extension.CUDAExtension
        sources += [*(ROOT / "csrc" / "cuda").glob("*.cpp"), *(ROOT / "csrc" / "cuda").glob("*.cu")]
        defines |= {
            "USE_CUDA": "1",
            "POINTKERNELS_CUDA_VERSION": torch.version.cuda,
            "POINTKERNELS_CUDA_ARCHITECTURES": ",".join(architectures.replace(";", " ").split()),
        }
        description = f"CPU and CUDA {architectures} ({reason})"
    flags = [f"-D{name}={value}" for name, value in defines.items()]
    built = make(
        "pointkernels._C",
        sorted(str(source.relative_to(ROOT)) for source in sources),
        # No definitions for nvcc, which would take the commas of one for the beginnings of others; no kernel uses any.
        extra_compile_args={"cxx": cxx + flags, "nvcc": nvcc},
        extra_link_args=(
            [f"-fsanitize={sanitizers}"] if sanitizers else ["-Wl,--strip-all"] if sys.platform == "linux" else []
        ),
    )
    return built, description


EXTENSION, DESCRIPTION = (Extension("pointkernels._C", []), "nothing") if LACKING else extension()
setup(ext_modules=[EXTENSION], cmdclass={"build_ext": BuildExtension})
