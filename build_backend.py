"""PEP 517 build backend: setuptools, plus the torch that the user already has.

An extension must be built against some torch, but listing torch in `build-system.requires` would make pip download the
newest one (gigabytes, maybe another version than the user's) into its isolated build environment. So the torch of the
target interpreter is put at the end of sys.path, where it is found unless the isolated environment has its own; where
pip's target has none, one is required, as pip installs it anyway. Other frontends (uv, build) isolate in an environment
from which the target cannot be seen: there a build is refused in a sentence rather than done with a torch of its own.
"""

from __future__ import annotations

import importlib.util
import os
import site
import sys
import sysconfig
from pathlib import Path

try:
    import setuptools
    from setuptools.build_meta import *  # noqa: F403  (all other hooks are setuptools' own)
except ModuleNotFoundError as error:  # only without build isolation
    sys.exit(
        "building pointkernels without build isolation needs setuptools, pybind11 and ninja beside torch, "
        f"got: {error}; install them first"
    )

OLDEST_SETUPTOOLS = 77  # as pyproject.toml says; without build isolation nobody else asks, and it fails on the licence
if int(setuptools.__version__.split(".")[0]) < OLDEST_SETUPTOOLS:
    sys.exit(
        f"building pointkernels needs setuptools {OLDEST_SETUPTOOLS} or later, got {setuptools.__version__}: "
        f"pip install -U 'setuptools>={OLDEST_SETUPTOOLS}'"
    )


def _own_folders() -> list[str]:
    """Where this interpreter's packages are; of a virtual environment that sees the system's, those too.

    The site of the user counts as site.py counts it, for pip switches it off in its isolated environment.
    """
    folders = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), *site.getsitepackages()]
    if sys.base_prefix in site.PREFIXES:
        folders.append(site.getusersitepackages())
    return list(dict.fromkeys(folders))


def _reach_installed_torch() -> None:
    if importlib.util.find_spec("torch") is not None:
        return
    folders = _own_folders()
    sys.path.extend(folders)
    # For subprocesses of the build.
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), *folders]))


# Each hook runs in a process of its own, and nearly every one executes setup.py, which imports torch.
_reach_installed_torch()


def _is_target_seen() -> bool:
    """Whether this is the interpreter that the package is for: pip's build requirements lie beside its packages."""
    lies = Path(setuptools.__file__).resolve()
    return not any(lies.is_relative_to(Path(folder).resolve()) for folder in _own_folders())


def _missing_torch(config_settings: dict[str, str] | None = None) -> list[str]:
    if importlib.util.find_spec("torch"):
        return []
    if _is_target_seen():
        return ["torch>=2.10"]
    sys.exit(
        "pointkernels must be built against the torch it is for, and there is none in this environment: install torch, "
        "setuptools, pybind11 and ninja and build without isolation (uv pip install --no-build-isolation, "
        "uv build --no-build-isolation, python -m build --no-isolation), or use pip, which finds the installed torch"
    )


get_requires_for_build_wheel = get_requires_for_build_editable = _missing_torch


def get_requires_for_build_sdist(config_settings: dict[str, str] | None = None) -> list[str]:
    """Nothing is compiled for it, so that there may be no torch."""
    return []
