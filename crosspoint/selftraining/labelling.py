"""The labels of a batch, from the teacher's logits and the settings."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from crosspoint.config.selftrain import LabelConfig
from crosspoint.losses.pseudo_labels import (
    PseudoLabels,
    agreement_pseudo_labels,
    branch_pseudo_labels,
    joint_pseudo_labels,
    naive_pseudo_labels,
)


class BranchLabels(NamedTuple):
    """The labels that each branch is trained with; None for a branch that is not trained."""

    image: PseudoLabels | None
    cloud: PseudoLabels | None


def label(
    image_logits: Tensor | None,
    cloud_logits: Tensor | None,
    config: LabelConfig,
    generator: torch.Generator,
    true: Tensor,
) -> BranchLabels:
    """Labels the objects of a batch.

    Args:
        image_logits: (B, K) the teacher's, or None where the image branch is not trained.
        cloud_logits: (B, K) the teacher's, or None where the cloud branch is not trained.
        config: Where labels come from.
        generator: Source of the lots of the source naive.
        true: (B,) true classes, -1 where unknown; used by the source true alone.
    """
    if config.source == "true":
        known = PseudoLabels(true.clamp(min=0), true >= 0, torch.ones(len(true), device=true.device))
        return BranchLabels(known, known)
    image = cloud = None
    if image_logits is None or cloud_logits is None or config.source == "separate":
        if image_logits is not None:
            image = branch_pseudo_labels(image_logits, threshold=config.image_threshold)
        if cloud_logits is not None:
            cloud = branch_pseudo_labels(cloud_logits, threshold=config.cloud_threshold)
        return BranchLabels(image, cloud)
    options = {"threshold": config.threshold, "cloud_weight": config.cloud_weight}
    if config.source == "naive":
        both = naive_pseudo_labels(image_logits, cloud_logits, generator, **options)
    elif config.source == "agreement":
        options["threshold"] = config.agreement_threshold
        both = agreement_pseudo_labels(image_logits, cloud_logits, **options)
    else:
        both = joint_pseudo_labels(image_logits, cloud_logits, **options)
    return BranchLabels(both, both)
