"""The views of a batch that teacher and student get to see."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from crosspoint.config.selftrain import MethodConfig
from crosspoint.data.augment.cloud_views import AS_CODE_CROP, CloudViews, strong_clouds, weak_clouds
from crosspoint.data.augment.clouds import CloudAugmentation
from crosspoint.data.augment.image_views import ImageViews, strong_images, weak_images
from crosspoint.data.augment.rand_augment import RandAugment
from crosspoint.data.labelled import axis_shift
from crosspoint.data.sample import UpAxis
from crosspoint.models.aligned import AlignedModel
from crosspoint.models.masks import cloud_region_mask, image_block_mask
from crosspoint.models.point_groups import Groups


class Views(NamedTuple):
    """B objects as teacher (weak) and student (strong, masked) see them; None for a branch that is not trained."""

    weak_images: Tensor | None
    strong_images: Tensor | None
    image_mask: Tensor | None
    weak_groups: Groups | None
    strong_groups: Groups | None
    cloud_mask: Tensor | None


class ViewMaker:
    """Draws views.

    Args:
        method: The settings.
        model: Tells sizes and normalisation, and cuts clouds into groups.
        given_axis: Vertical axis of the clouds as they come.
        up_axis: Vertical axis that the model knows; clouds are turned to stand so, and strong views turn about it.
    """

    def __init__(self, method: MethodConfig, model: AlignedModel, given_axis: UpAxis, up_axis: UpAxis) -> None:
        self._method = method
        self._model = model
        strong = method.views
        self._images = ImageViews(
            size=model.image.image_size,
            scale=strong.image_crop,
            operations=RandAugment(operations=strong.image_operations, magnitude=strong.image_magnitude),
            mean=model.image.mean,
            std=model.image.std,
        )
        crop = AS_CODE_CROP if method.quirks.crop == "off" else CloudViews().crop
        self._shift = axis_shift(given_axis, up_axis)
        changes = CloudAugmentation(
            scale=strong.cloud_scale,
            up_axis=up_axis,
            translate=strong.cloud_move,
            max_dropout=strong.cloud_dropout,
        )
        self._clouds = CloudViews(strong=changes, crop=crop, upsample=strong.cloud_points)

    def __call__(self, points: Tensor, images: Tensor, generator: torch.Generator) -> Views:
        """Draws the views of a batch.

        Args:
            points: (B, N, 3).
            images: (B, 3, H, W) uint8.
            generator: Source of all randomness; on the CPU.
        """
        labels, model = self._method.labels, self._model
        weak = strong = image_mask = weak_groups = strong_groups = cloud_mask = None
        if labels.trains_images:
            weak = weak_images(images, self._images, generator)
            strong = strong_images(images, self._images, generator)
            image_mask = self._image_mask(len(images), generator, images.device)
        if labels.trains_clouds:
            points = points.roll(self._shift, dims=-1)
            weak_groups = model.cloud.group(weak_clouds(points, self._clouds, generator), generator)
            strong_groups = model.cloud.group(strong_clouds(points, self._clouds, generator), generator)
            if self._method.masks.cloud_ratio[1] > 0:
                cloud_mask = cloud_region_mask(strong_groups.centers, generator, ratio=self._method.masks.cloud_ratio)
        return Views(weak, strong, image_mask, weak_groups, strong_groups, cloud_mask)

    def _image_mask(self, batch: int, generator: torch.Generator, device: torch.device) -> Tensor | None:
        masks, side = self._method.masks, self._model.image.image_size // self._model.image.patch_size
        if masks.image_ratio == 0:
            return None
        return image_block_mask(
            batch, (side, side), generator, ratio=masks.image_ratio, block=masks.image_block, device=device
        )
