"""PEP 517 build backend: setuptools, plus the torch that the user already has.

An extension must be built against some torch, but listing torch in `build-system.requires` would make pip download the
newest one (gigabytes, maybe another version than the user's) into its isolated build environment. So the torch of the
target interpreter is put at the end of sys.path, where it is found unless the isolated environment has its own; only
when there is none is one required.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import sysconfig

import setuptools
from setuptools.build_meta import *  # noqa: F403  (all other hooks are setuptools' own)

OLDEST_SETUPTOOLS = 77  # as pyproject.toml says; without build isolation nobody else asks, and it fails on the licence
if int(setuptools.__version__.split(".")[0]) < OLDEST_SETUPTOOLS:
    sys.exit(
        f"building pointkernels needs setuptools {OLDEST_SETUPTOOLS} or later, got {setuptools.__version__}: "
        f"pip install -U 'setuptools>={OLDEST_SETUPTOOLS}'"
    )


def _reach_installed_torch() -> None:
    if importlib.util.find_spec("torch") is not None:
        return
    site_packages = list(dict.fromkeys([sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]))
    sys.path.extend(site_packages)
    # For subprocesses of the build.
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), *site_packages]))


# Each hook runs in a process of its own, and nearly every one executes setup.py, which imports torch.
_reach_installed_torch()


def _missing_torch(config_settings: dict[str, str] | None = None) -> list[str]:
    return [] if importlib.util.find_spec("torch") else ["torch>=2.10"]


get_requires_for_build_wheel = get_requires_for_build_editable = get_requires_for_build_sdist = _missing_torch
