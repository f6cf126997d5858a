"""Sentences that name a class, for the text tower."""

from __future__ import annotations

from collections.abc import Mapping

_KINDS = (
    "photo",
    "rendering",
    "3D model",
    "point cloud",
    "depth map",
    "scan",
    "CAD model",
    "grey picture",
)
_OBJECTS = (
    "a {}",
    "the {}",
    "one {}",
    "a small {}",
    "a large {}",
    "a {} without background",
    "a {} seen from one side",
    "an incomplete {}",
)

TEMPLATES: Mapping[str, tuple[str, ...]] = {
    "plain": ("a {}.",),
    "modelnet": tuple(f"a {kind} of {thing}." for kind in _KINDS for thing in _OBJECTS),
}
"""Sets of prompts: ``plain`` has one; ``modelnet`` has 64, as many as the authors' set, in the manner of CLIP's."""
