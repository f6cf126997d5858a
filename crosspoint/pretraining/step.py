"""One step of pre-training: views, augmentations, forward, loss, backward, update."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from crosspoint.config.pretrain import Config
from crosspoint.data.augment.clouds import CloudAugmentation, augment_clouds
from crosspoint.data.augment.images import ImageAugmentation, augment_images
from crosspoint.data.rendering.render import random_views, render
from crosspoint.data.sample import Batch, UpAxis
from crosspoint.engine.distributed import World, gather_with_gradient
from crosspoint.engine.state import TrainingState
from crosspoint.losses.crosspoint import crosspoint_loss
from crosspoint.models.crosspoint import CrossPoint, Projections


class TrainingStep:
    """Moves a state by one batch.

    Args:
        state: What is trained.
        network: The state's model, or its wrapper for several processes.
        config: The run's settings.
        world: The processes; the loss is that of the batches of all of them together. BatchNorm statistics stay those
            of each process's own part.
        up_axis: The clouds' vertical axis, which augmentations turn about and views show upright.
    """

    def __init__(
        self,
        state: TrainingState[CrossPoint],
        network: Callable[[Tensor, Tensor, Tensor], Projections],
        config: Config,
        world: World,
        up_axis: UpAxis,
    ) -> None:
        self._state = state
        self._network = network
        self._config = config
        self._world = world
        self._clouds = CloudAugmentation(up_axis=up_axis)
        self._images = ImageAugmentation(size=config.data.image_size)

    def __call__(self, batch: Batch) -> Tensor:
        """Trains on one batch.

        Args:
            batch: (B, N, 3) points, and normals or images where the dataset has them.

        Returns:
            (3,) the loss, its part between clouds and its part between clouds and images; detached, on the run's
            device, so that reading them is what waits for the device.
        """
        state, settings = self._state, self._config.optimisation
        generator = state.augmentation
        points = batch["points"].to(self._world.device, non_blocking=True)
        images = augment_images(self._pictures(batch, points), self._images, generator)
        first = augment_clouds(points, self._clouds, generator)
        second = augment_clouds(points, self._clouds, generator)

        state.model.train()
        projections = torch.stack(list(self._network(first, second, images)), dim=1)
        loss = crosspoint_loss(
            *gather_with_gradient(projections, self._world).unbind(dim=1),
            temperature=settings.temperature,
            intra_weight=settings.intra_weight,
            cross_weight=settings.cross_weight,
        )
        state.optimiser.zero_grad()
        loss.total.backward()  # type: ignore[no-untyped-call]
        state.optimiser.step()
        state.schedule.step()
        state.step += 1
        return torch.stack(list(loss)).detach()

    def _pictures(self, batch: Batch, points: Tensor) -> Tensor:
        """The objects' own images, or views of the clouds where they have none."""
        if "image" in batch:
            return batch["image"].to(self._world.device, non_blocking=True)
        normals = batch["normals"].to(self._world.device, non_blocking=True) if "normals" in batch else None
        generator = self._state.augmentation
        azimuth, elevation = random_views(len(points), generator, points.device)
        return render(
            points,
            normals,
            azimuth=azimuth,
            elevation=elevation,
            size=self._config.data.image_size,
            mode=self._config.data.view_mode,
            up_axis=self._clouds.up_axis,
            generator=generator,
        )
