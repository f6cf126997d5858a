"""How much each term of the Cross-MoST objective counts; the command line is generated from it, so no torch here."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from crosspoint.config.checks import require_non_negative


@dataclass(frozen=True, kw_only=True)
class CrossMostWeights:
    """Weights of the terms; 0 leaves one out. The defaults are those of the official code for every dataset."""

    self_training: float = 1.0
    """Of the cross entropy with pseudo-labels, in both branches."""
    image_fairness: float = 1.0
    """Of the fairness of the image branch: a batch as a whole should use all classes."""
    image_modelling: float = 1.0
    """Of the reconstruction of masked pixels."""
    image_global_local: float = 0.2
    """Of the alignment of masked patches with the whole image."""
    cloud_fairness: float = 1.0
    """Of the fairness of the cloud branch."""
    cloud_modelling: float = 1.0
    """Of the reconstruction of masked tokens."""
    cloud_global_local: float = 0.2
    """Of the alignment of masked groups with the whole cloud."""
    cloud: float = 1.0
    """Of the cloud branch as a whole."""
    alignment: float = 1.0
    """Of the contrast between clouds and images of the same objects, where both branches are trained."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            require_non_negative(f"the weight {field.name}", getattr(self, field.name))
