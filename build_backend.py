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

from setuptools import build_meta
from setuptools.build_meta import *  # noqa: F403  (the hooks that need nothing of ours)

TORCH = "torch>=2.10"


def _reach_installed_torch() -> bool:
    """Whether torch can be imported, after adding the target interpreter's site-packages."""
    if importlib.util.find_spec("torch") is None:
        site_packages = list(dict.fromkeys([sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]))
        sys.path.extend(site_packages)
        # For subprocesses of the build.
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), *site_packages]))
    return importlib.util.find_spec("torch") is not None


def get_requires_for_build_wheel(config_settings: dict[str, str] | None = None) -> list[str]:
    return [] if _reach_installed_torch() else [TORCH]


def get_requires_for_build_editable(config_settings: dict[str, str] | None = None) -> list[str]:
    return get_requires_for_build_wheel(config_settings)


def build_wheel(
    wheel_directory: str, config_settings: dict[str, str] | None = None, metadata_directory: str | None = None
) -> str:
    _reach_installed_torch()
    return str(build_meta.build_wheel(wheel_directory, config_settings, metadata_directory))


def build_editable(
    wheel_directory: str, config_settings: dict[str, str] | None = None, metadata_directory: str | None = None
) -> str:
    _reach_installed_torch()
    return str(build_meta.build_editable(wheel_directory, config_settings, metadata_directory))
