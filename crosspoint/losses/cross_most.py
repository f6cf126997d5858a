"""The Cross-MoST objective: the weighted sum of what each branch learns, and of what both learn from each other."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from crosspoint.config.cross_most import CrossMostWeights


class BranchLosses(NamedTuple):
    """The terms of one branch, scalars; None where a term is left out."""

    self_training: Tensor
    fairness: Tensor
    modelling: Tensor | None = None
    global_local: Tensor | None = None


class CrossMostLoss(NamedTuple):
    """The objective and its parts (scalars; the parts are unweighted, and 0 where they were left out)."""

    total: Tensor
    image_self_training: Tensor
    image_fairness: Tensor
    image_modelling: Tensor
    image_global_local: Tensor
    cloud_self_training: Tensor
    cloud_fairness: Tensor
    cloud_modelling: Tensor
    cloud_global_local: Tensor
    alignment: Tensor


def cross_most_loss(
    image: BranchLosses | None,
    cloud: BranchLosses | None,
    alignment: Tensor | None = None,
    weights: CrossMostWeights | None = None,
) -> CrossMostLoss:
    r"""Weighted sum of the terms.

    .. math::
        L = \left[ L_{st}^I + L_{fair}^I + L_{mim}^I + 0.2\, L_{gl}^I \right]
          + \lambda \left[ L_{st}^P + L_{fair}^P + L_{mpm}^P + 0.2\, L_{gl}^P \right] + L_x

    Source: Dharmasiri et al., "Cross-Modal Self-Training: Aligning Images and Pointclouds to Learn Classification
    without Labels" (Cross-MoST), 2024, https://arxiv.org/abs/2404.10146, and its code.

    Args:
        image: Terms of the image branch; None trains on clouds only.
        cloud: Terms of the cloud branch; None trains on images only.
        alignment: The contrast between both; None leaves it out, as the single-modality baselines do.
        weights: Weights; None for the default ones. A term of weight 0 is reported but not added, even if it is not
            finite.

    Returns:
        The weighted total, differentiable in every term that is added, and the terms as they came.

    Raises:
        ValueError: If there is no branch.
    """
    present = image or cloud
    if present is None:
        raise ValueError("there must be an image branch, a cloud branch or both, got neither")
    weights = weights or CrossMostWeights()
    zero = torch.zeros_like(present.self_training.detach())
    empty = BranchLosses(zero, zero)
    parts = [zero if term is None else term for term in (*(image or empty), *(cloud or empty), alignment)]
    factors = (
        weights.self_training,
        weights.image_fairness,
        weights.image_modelling,
        weights.image_global_local,
        weights.cloud * weights.self_training,
        weights.cloud * weights.cloud_fairness,
        weights.cloud * weights.cloud_modelling,
        weights.cloud * weights.cloud_global_local,
        weights.alignment,
    )
    total = zero
    for factor, part in zip(factors, parts, strict=True):
        if factor:
            total = total + factor * part
    return CrossMostLoss(total, *parts)
