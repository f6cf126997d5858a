"""One step of self-training: views, the teacher's labels, the student's loss, update of both."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, distributed

from crosspoint.config.selftrain import MethodConfig
from crosspoint.data.sample import Batch
from crosspoint.engine.distributed import World
from crosspoint.engine.state import TrainingState
from crosspoint.losses.cross_most import CrossMostLoss
from crosspoint.losses.pseudo_labels import PseudoLabels
from crosspoint.models.aligned import AlignedModel
from crosspoint.selftraining.labelling import BranchLabels, label
from crosspoint.selftraining.objective import Objective
from crosspoint.selftraining.student import Outputs
from crosspoint.selftraining.teacher import Teacher
from crosspoint.selftraining.views import ViewMaker, Views

LOSSES = ("loss", *CrossMostLoss._fields[1:])
"""Names of the losses that a step returns."""


class Shares(NamedTuple):
    """What a step tells of its labels, as shares of the batch, mean over the branches that are trained."""

    confident: Tensor
    """Labels that count."""
    correct: Tensor
    """Labels that count and are right; 0 where the truth is unknown."""
    image_correct: Tensor
    """What the teacher's image branch says, confident or not, and is right; 0 if it was not asked."""
    cloud_correct: Tensor
    """The same for its cloud branch."""


SHARES = Shares._fields
"""Names of the shares that a step returns after its losses."""


class SelfTrainingStep:
    """Moves a state by one batch.

    Args:
        state: Student, optimiser and schedule.
        teacher: Follows the student.
        network: The student, or its wrapper for several processes; called with images, image mask, groups, cloud mask.
        method: The settings.
        world: The processes.
        make_views: Draws the views of a batch.
    """

    def __init__(
        self,
        state: TrainingState[AlignedModel],
        teacher: Teacher[AlignedModel],
        network: Callable[..., Outputs],
        method: MethodConfig,
        world: World,
        make_views: ViewMaker,
    ) -> None:
        self._state = state
        self._teacher = teacher
        self._network = network
        self._labels = method.labels
        self._world = world
        self._make_views = make_views
        self._objective = Objective(method, world)

    def __call__(self, batch: Batch) -> Tensor:
        """Trains on one batch.

        Args:
            batch: Points and image of B objects, and label: positions in the list of classes, -1 where unknown. Labels
                are for the shares that are right, and for the source true.

        Returns:
            The losses and the shares, in the order of `LOSSES` and `SHARES`, of the batches of all processes together;
            detached, on the run's device.
        """
        device = self._world.device
        points = batch["points"].to(device, non_blocking=True)
        images = batch["image"].to(device, non_blocking=True)
        views = self._make_views(points, images, self._state.augmentation)
        return self.learn(views, batch["label"].to(device, non_blocking=True))

    def learn(self, views: Views, true: Tensor) -> Tensor:
        """Trains on views; see `__call__`.

        Args:
            views: Of B objects.
            true: (B,) their classes, -1 where unknown.
        """
        state = self._state
        image_logits, cloud_logits = self._ask_teacher(views)
        labels = label(image_logits, cloud_logits, self._labels, state.augmentation, true)
        state.model.train()
        outputs = self._network(views.strong_images, views.image_mask, views.strong_groups, views.cloud_mask)
        loss = self._objective(outputs, views, labels)
        state.optimiser.zero_grad()
        loss.total.backward()  # type: ignore[no-untyped-call]
        state.optimiser.step()
        state.schedule.step()
        state.step += 1
        self._teacher.update(state.model)
        told = torch.stack([*loss, *_shares(labels, image_logits, cloud_logits, true)]).detach()
        if self._world.size > 1:
            distributed.all_reduce(told)
            told = told / self._world.size
        return told

    @torch.no_grad()
    def _ask_teacher(self, views: Views) -> tuple[Tensor | None, Tensor | None]:
        model = self._teacher.model
        image = None if views.weak_images is None else model.logits(model.image(views.weak_images).feature)
        cloud = None if views.weak_groups is None else model.logits(model.cloud(views.weak_groups).feature)
        return image, cloud


def _shares(labels: BranchLabels, image_logits: Tensor | None, cloud_logits: Tensor | None, true: Tensor) -> Shares:
    used: list[PseudoLabels] = [one for one in labels if one is not None]
    confident = torch.stack([one.mask.float().mean() for one in used]).mean()
    correct = torch.stack([(one.mask & (one.labels == true)).float().mean() for one in used]).mean()

    def right(logits: Tensor | None) -> Tensor:
        return torch.zeros_like(confident) if logits is None else (logits.argmax(dim=1) == true).float().mean()

    return Shares(confident, correct, right(image_logits), right(cloud_logits))
