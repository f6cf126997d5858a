"""Labels that a teacher gives to unlabelled objects, each seen by two branches: an image and a cloud.

Every function takes the teacher's logits, answers for each object by itself (so processes need not talk), and carries
no gradient. An object is trained on only where the score of its label is above the threshold.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class PseudoLabels(NamedTuple):
    """A label for each of B objects, and which of them to believe."""

    labels: Tensor
    """(B,) int64, classes."""
    mask: Tensor
    """(B,) bool, whether the label is confident enough to train on."""
    scores: Tensor
    """(B,) float32 or float64, the confidences that were held against the threshold."""


def branch_pseudo_labels(logits: Tensor, *, threshold: float) -> PseudoLabels:
    r"""The most probable class of one branch alone: self-training of a single modality.

    .. math:: \hat y = \arg\max_k q_k, \quad s = \max_k q_k, \quad \text{confident iff } s > \tau

    with :math:`q` the softmax of the logits. Equal probabilities go to the lower class.

    Source: Li et al., "Masked Unsupervised Self-training for Label-free Image Classification" (MUST), ICLR 2023; the
    baseline of Cross-MoST (Dharmasiri et al., 2024, https://arxiv.org/abs/2404.10146), where the thresholds are 0.8 for
    images and 0.82 for clouds on ModelNet40.

    Args:
        logits: (B, K) the teacher's.
        threshold: A score must be above it, in [0, 1].

    Raises:
        ValueError: If the logits are not (B, K) with K at least 1, or the threshold is outside [0, 1].
    """
    _check(threshold, logits)
    scores, labels = _predict(logits)
    return PseudoLabels(labels, scores > threshold, scores)


def joint_pseudo_labels(
    image_logits: Tensor, cloud_logits: Tensor, *, threshold: float = 0.84, cloud_weight: float = 0.9
) -> PseudoLabels:
    r"""One label for both branches: that of the more confident one, a cloud's confidence being weighted.

    .. math::
        s = \max(\alpha s_P, s_I), \quad \hat y = y_P \text{ if } \alpha s_P \ge s_I \text{ else } y_I, \quad
        \text{confident iff } s > \tau

    with :math:`y` and :math:`s` the most probable class and its probability, in the image (I) and the cloud (P). Equal
    scores go to the cloud. (The official code adds the two labels up there, which makes a class that neither saw.)

    Source: Cross-MoST (Dharmasiri et al., 2024, https://arxiv.org/abs/2404.10146) and its code; its numbers are 0.84
    with weight 0.9 on ModelNet and CO3D, 0.82 with weight 1 on Redwood and ScanObjectNN.

    Args:
        image_logits: (B, K) the teacher's, of an image of each object.
        cloud_logits: (B, K) the teacher's, of the cloud of each object.
        threshold: The larger score must be above it, in [0, 1].
        cloud_weight: Factor of the cloud's confidence, above 0.

    Raises:
        ValueError: If the logits are not both (B, K), the threshold is outside [0, 1] or the weight not above 0.

    Example:
        >>> import torch
        >>> image = torch.tensor([[0.80, 0.20], [0.05, 0.95], [0.60, 0.40]]).log()
        >>> cloud = torch.tensor([[0.04, 0.96], [0.97, 0.03], [0.45, 0.55]]).log()
        >>> labels, mask, _ = joint_pseudo_labels(image, cloud)  # 0.9 * 0.97 < 0.95
        >>> labels.tolist(), mask.tolist()
        ([1, 1, 0], [True, True, False])
    """
    image_scores, image_labels, cloud_scores, cloud_labels = _both(image_logits, cloud_logits, threshold, cloud_weight)
    scores = torch.maximum(image_scores, cloud_scores)
    labels = torch.where(cloud_scores >= image_scores, cloud_labels, image_labels)
    return PseudoLabels(labels, scores > threshold, scores)


def agreement_pseudo_labels(
    image_logits: Tensor, cloud_logits: Tensor, *, threshold: float = 0.2, cloud_weight: float = 0.9
) -> PseudoLabels:
    r"""The label that both branches give, where they agree and neither is too unsure.

    .. math:: \text{confident iff } y_I = y_P \text{ and } \min(\alpha s_P, s_I) > \tau

    Where they disagree, the label is the image's and never confident. A baseline of Cross-MoST's code, off by default
    there.

    Args:
        image_logits: (B, K) the teacher's, of an image of each object.
        cloud_logits: (B, K) the teacher's, of the cloud of each object.
        threshold: The smaller score must be above it, in [0, 1].
        cloud_weight: Factor of the cloud's confidence, above 0.

    Raises:
        ValueError: As for :func:`joint_pseudo_labels`.
    """
    image_scores, image_labels, cloud_scores, cloud_labels = _both(image_logits, cloud_logits, threshold, cloud_weight)
    scores = torch.minimum(image_scores, cloud_scores)
    return PseudoLabels(image_labels, (image_labels == cloud_labels) & (scores > threshold), scores)


def naive_pseudo_labels(
    image_logits: Tensor,
    cloud_logits: Tensor,
    generator: torch.Generator,
    *,
    threshold: float = 0.84,
    cloud_weight: float = 0.9,
) -> PseudoLabels:
    """The label of a branch drawn by lot for each object, with equal chances, and that branch's score.

    A baseline of Cross-MoST's code, off by default there.

    Args:
        image_logits: (B, K) the teacher's, of an image of each object.
        cloud_logits: (B, K) the teacher's, of the cloud of each object.
        generator: Source of the lots.
        threshold: The score must be above it, in [0, 1].
        cloud_weight: Factor of the cloud's confidence, above 0.

    Raises:
        ValueError: As for :func:`joint_pseudo_labels`.
    """
    image_scores, image_labels, cloud_scores, cloud_labels = _both(image_logits, cloud_logits, threshold, cloud_weight)
    lots = torch.randint(2, (len(image_labels),), generator=generator, device=generator.device)
    from_cloud = lots.to(image_labels.device) == 1
    scores = torch.where(from_cloud, cloud_scores, image_scores)
    return PseudoLabels(torch.where(from_cloud, cloud_labels, image_labels), scores > threshold, scores)


def _both(image_logits: Tensor, cloud_logits: Tensor, threshold: float, cloud_weight: float) -> tuple[Tensor, ...]:
    """Scores and labels of the image, weighted scores and labels of the cloud."""
    _check(threshold, image_logits)
    if image_logits.shape != cloud_logits.shape:
        raise ValueError(
            "logits of images and clouds must have the same shape, "
            f"got {tuple(image_logits.shape)} and {tuple(cloud_logits.shape)}"
        )
    if not cloud_weight > 0:
        raise ValueError(f"cloud_weight must be above 0, got {cloud_weight}")
    cloud_scores, cloud_labels = _predict(cloud_logits)
    return *_predict(image_logits), cloud_weight * cloud_scores, cloud_labels


def _predict(logits: Tensor) -> tuple[Tensor, Tensor]:
    logits = logits.detach()
    probabilities = logits.softmax(dim=1, dtype=torch.promote_types(logits.dtype, torch.float32))
    # argmax and not the index of max: it is the first one of equals on every device.
    return probabilities.amax(dim=1), probabilities.argmax(dim=1)


def _check(threshold: float, logits: Tensor) -> None:
    if logits.dim() != 2 or logits.shape[1] == 0:
        raise ValueError(f"logits must be (B, K) with K at least 1, got {tuple(logits.shape)}")
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold must lie in [0, 1], got {threshold}")
