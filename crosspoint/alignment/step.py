"""One step of an alignment: views, captions, forward, loss, backward, update."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from crosspoint.config.align import AlignConfig
from crosspoint.data.augment.cloud_views import random_tilt
from crosspoint.data.augment.clouds import CloudAugmentation, augment_clouds
from crosspoint.data.augment.image_views import random_resized_crop
from crosspoint.data.augment.images import as_float_images, normalise_images, random_flip
from crosspoint.data.augment.rand_augment import RandAugment, rand_augment
from crosspoint.data.sample import Batch, UpAxis
from crosspoint.engine.distributed import World, gather_with_gradient
from crosspoint.engine.state import TrainingState
from crosspoint.losses.tri_modal import TriModalLoss, tri_modal_loss
from crosspoint.models.aligned import AlignedModel
from crosspoint.models.masks import cloud_region_mask, image_block_mask
from crosspoint.models.point_groups import Groups

LOSSES = ("loss", *TriModalLoss._fields[1:])
"""Names of the losses that a step returns."""

_SHAPE = (3 / 4, 4 / 3)  # width over height of the part of an image that is kept
_TILT, _MOST_TILT = 0.06, 0.18  # radians, as in ULIP
_LARGEST_SCALE = math.log(100.0)  # of the logarithm of the inverse temperature, as in CLIP


class Encoded(NamedTuple):
    """Features of B objects in the shared space, rows of length one, and its inverse temperature."""

    cloud: Tensor
    image: Tensor
    text: Tensor
    scale: Tensor


class ThreeTowers(nn.Module):
    """All branches as one network, so that processes can share its gradients.

    Args:
        model: The aligned model.
        captions: The caption of each class.
    """

    def __init__(self, model: AlignedModel, captions: Sequence[str]) -> None:
        super().__init__()
        self.model = model
        self._captions = tuple(captions)

    def forward(
        self,
        groups: Groups,
        images: Tensor,
        classes: Tensor,
        cloud_mask: Tensor | None = None,
        image_mask: Tensor | None = None,
    ) -> Encoded:
        """Encodes B objects.

        Args:
            groups: Of their clouds.
            images: (B, 3, H, W) normalised.
            classes: (B,) whose caption is theirs.
            cloud_mask: (B, G) bool, or None.
            image_mask: (B, h, w) bool, or None.
        """
        model = self.model
        wanted, position = torch.unique(classes, return_inverse=True)
        text = model.encode_text([self._captions[number] for number in wanted.tolist()])
        return Encoded(
            cloud=model.cloud(groups, cloud_mask).feature,
            image=model.image(images, image_mask).feature,
            text=text[position],
            scale=model.logit_scale.exp(),
        )


class AlignmentStep:
    """Moves a state by one batch.

    Args:
        state: What is trained.
        network: `ThreeTowers` on the state's model, or its wrapper for several processes.
        config: The run's settings.
        world: The processes; the loss is that of the batches of all of them together.
        up_axis: The clouds' vertical axis, which augmentations turn about.
    """

    def __init__(
        self,
        state: TrainingState[AlignedModel],
        network: Callable[..., Encoded],
        config: AlignConfig,
        world: World,
        up_axis: UpAxis,
    ) -> None:
        self._state = state
        self._network = network
        self._views = config.views
        self._settings = config.optimisation
        self._world = world
        views = config.views
        self._clouds = CloudAugmentation(
            scale=views.scale, up_axis=up_axis, translate=views.move, max_dropout=views.dropout
        )

    def __call__(self, batch: Batch) -> Tensor:
        """Trains on one batch.

        Args:
            batch: Points, image and label of B objects.

        Returns:
            (4,) the losses in the order of `LOSSES`; detached, on the run's device.
        """
        state, device, generator = self._state, self._world.device, self._state.augmentation
        points = augment_clouds(batch["points"].to(device, non_blocking=True), self._clouds, generator)
        groups = state.model.cloud.group(random_tilt(points, _TILT, _MOST_TILT, generator), generator)
        images = self._crop(as_float_images(batch["image"].to(device, non_blocking=True)))
        masks = self._masks(groups) if self._views.masked else (None, None)
        state.model.train()
        return self.learn(groups, images, batch["label"].to(device, non_blocking=True), *masks)

    def learn(
        self,
        groups: Groups,
        images: Tensor,
        classes: Tensor,
        cloud_mask: Tensor | None = None,
        image_mask: Tensor | None = None,
    ) -> Tensor:
        """Trains on views, in whatever mode the model is; see `__call__`.

        Args:
            groups: Of B clouds.
            images: (B, 3, H, W) normalised.
            classes: (B,) whose captions are theirs.
            cloud_mask: (B, G) bool, or None.
            image_mask: (B, h, w) bool, or None.
        """
        state = self._state
        encoded = self._network(groups, images, classes, cloud_mask, image_mask)
        everyone = gather_with_gradient(torch.stack(encoded[:3], dim=1), self._world)
        loss = tri_modal_loss(
            *everyone.unbind(dim=1),
            scale=encoded.scale,
            image_text_weight=self._settings.image_text_weight,
            captions=gather_with_gradient(classes, self._world) if self._settings.shared_captions else None,
        )
        state.optimiser.zero_grad()
        loss.total.backward()  # type: ignore[no-untyped-call]
        state.optimiser.step()
        state.schedule.step()
        with torch.no_grad():
            state.model.logit_scale.clamp_(0.0, _LARGEST_SCALE)
        state.step += 1
        return torch.stack(list(loss)).detach()

    def _crop(self, images: Tensor) -> Tensor:
        model, generator = self._state.model.image, self._state.augmentation
        images = random_resized_crop(images, model.image_size, self._views.crop, _SHAPE, generator)
        images = random_flip(images, self._views.flip, generator)
        if self._views.magnitude:
            images = rand_augment(images, RandAugment(magnitude=self._views.magnitude), generator, fill=model.mean)
        return normalise_images(images, model.mean, model.std)

    def _masks(self, groups: Groups) -> tuple[Tensor, Tensor]:
        model, generator, device = self._state.model.image, self._state.augmentation, self._world.device
        batch, side = len(groups.centers), model.image_size // model.patch_size
        chosen = (torch.rand(batch, generator=generator) < self._views.masked).to(device)
        cloud_mask = cloud_region_mask(groups.centers, generator) & chosen.unsqueeze(1)
        image_mask = image_block_mask(batch, (side, side), generator, device=device) & chosen.view(-1, 1, 1)
        return cloud_mask, image_mask
