"""Names of kernels as tables show them."""

from __future__ import annotations

import re


def short_name(name: str) -> str:
    """A kernel's name without its return type, namespaces and parameters."""
    name = re.sub(r"\(anonymous namespace\)::|<unnamed>::", "", name)
    return re.sub(r"^void |\b\w+::|\(.*$", "", name).strip()
