"""The student: both branches and the classifier as one network, so that processes can share its gradients."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from crosspoint.config.selftrain import MethodConfig
from crosspoint.models.aligned import AlignedModel
from crosspoint.models.branch import Branch
from crosspoint.models.point_groups import Groups


class Outputs(NamedTuple):
    """What the student makes of B objects; None for a branch that is not trained."""

    image: Branch | None
    image_logits: Tensor | None
    """(B, K)."""
    cloud: Branch | None
    cloud_logits: Tensor | None
    """(B, K)."""
    scale: Tensor
    """() the classifier's inverse temperature."""


class Student(nn.Module):
    """Runs the branches that are trained.

    Args:
        model: The aligned model with its classifier.
    """

    def __init__(self, model: AlignedModel) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, images: Tensor | None, image_mask: Tensor | None, groups: Groups | None, cloud_mask: Tensor | None
    ) -> Outputs:
        """Encodes and classifies.

        Args:
            images: (B, 3, H, W) normalised, or None where the image branch is not trained.
            image_mask: (B, h, w) bool, or None.
            groups: Of B clouds, or None where the cloud branch is not trained.
            cloud_mask: (B, G) bool, or None.

        Returns:
            Features, what the masked losses compare, and logits.
        """
        model = self.model
        image = None if images is None else model.image(images, image_mask)
        cloud = None if groups is None else model.cloud(groups, cloud_mask)
        return Outputs(
            image=image,
            image_logits=None if image is None else model.logits(image.feature),
            cloud=cloud,
            cloud_logits=None if cloud is None else model.logits(cloud.feature),
            scale=model.logit_scale.exp(),
        )


def train_only_what_learns(model: AlignedModel, method: MethodConfig) -> None:
    """Stops the training of weights that get no gradient by these settings, or shall get none.

    Weight decay would still pull on them otherwise, and several processes would wait for their gradients.
    """
    labels, weights, masks = method.labels, method.weights, method.masks
    if not labels.trains_images:
        model.image.requires_grad_(False)
    if not labels.trains_clouds:
        model.cloud.requires_grad_(False)
    if method.freeze_tokens:
        model.cloud.freeze_tokens(statistics=not method.quirks.drifting_statistics)
    masked = masks.image_ratio > 0
    modelling, global_local = masked and weights.image_modelling > 0, masked and weights.image_global_local > 0
    if not masked:
        model.image.mask_token.requires_grad_(False)
    if not modelling:
        model.image.decoder.requires_grad_(False)
    if not modelling and not global_local:
        model.image.patch_norm.requires_grad_(False)
    masked = masks.cloud_ratio[1] > 0
    if not masked:
        model.cloud.mask_token.requires_grad_(False)
    if not (masked and weights.cloud_modelling > 0):
        model.cloud.predict.requires_grad_(False)
    if not (masked and weights.cloud_global_local > 0):
        model.cloud.compare.requires_grad_(False)
