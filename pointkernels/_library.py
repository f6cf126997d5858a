"""Loads the compiled operators into torch. Imported before anything uses `torch.ops.pointkernels`."""

from __future__ import annotations

import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from types import ModuleType
from typing import Any

import torch  # noqa: F401  (its libraries must be loaded before ours)


def _compiled_part() -> ModuleType:
    """`pointkernels._C`, also for Python files that are imported from the repository after `pip install .`.

    With the repository as the working folder, its own Python files hide the installed package, which has the compiled
    part; so the installed folder is searched after this one.
    """
    try:
        from pointkernels import _C
    except ImportError:
        compiled = (Path(entry, "pointkernels", f"_C{suffix}") for entry in sys.path for suffix in EXTENSION_SUFFIXES)
        installed = next((file.parent for file in compiled if file.is_file()), None)
        if installed is None:
            raise
        sys.modules["pointkernels"].__path__.append(str(installed))
        from pointkernels import _C
    return _C


try:
    _C = _compiled_part()
except ImportError as error:
    raise ImportError(
        "pointkernels must be installed with its compiled part (`pip install .`, or `pip install -e .` to import it "
        f"from the source folder), got: {error}"
    ) from error


def build_info() -> dict[str, Any]:
    """What this build was made with and what it uses here.

    Returns:
        version, compiler, torch (built against), cuda ("" for a CPU build), cuda_architectures, isas_compiled,
        isas_usable and isa (CPU instruction sets: in this binary, of these usable here, and the one in use), knn_path
        (how neighbours are searched on the CPU: "auto" unless POINTKERNELS_KNN_PATH or a test says otherwise).
    """
    info: dict[str, Any] = _C.build_info()
    return info


def set_isa(name: str) -> None:
    """Use one CPU instruction set ("scalar", "avx2", "avx512", "neon") from now on; for tests and benchmarks."""
    _C.set_isa(name)


def set_knn_path(name: str) -> None:
    """Search neighbours on the CPU in one way: "brute", "leaves", "projected", or as the operator chooses, "auto"."""
    _C.set_knn_path(name)


__version__: str = build_info()["version"]
