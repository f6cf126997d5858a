"""The loss of a batch that may be spread over several processes."""

from __future__ import annotations

import torch
from torch import Tensor, distributed

from crosspoint.config.selftrain import MethodConfig
from crosspoint.engine.distributed import World, gather_with_gradient
from crosspoint.losses.alignment import alignment_loss
from crosspoint.losses.cross_most import BranchLosses, CrossMostLoss, cross_most_loss
from crosspoint.losses.fairness import fairness_loss
from crosspoint.losses.global_local import global_local_loss
from crosspoint.losses.masked_modelling import masked_pixel_loss, masked_token_loss
from crosspoint.losses.pseudo_labels import PseudoLabels
from crosspoint.losses.self_training import self_training_loss
from crosspoint.models.branch import Branch
from crosspoint.selftraining.labelling import BranchLabels
from crosspoint.selftraining.student import Outputs
from crosspoint.selftraining.views import Views

_CHANNELS = 3


class Objective:
    """The loss of the student's outputs.

    Terms over the batch as a whole (labels, fairness, alignment) see the rows of all processes. Terms over masked
    places are means over all places of all processes, whose parts the processes add up. Averaging the processes'
    gradients, as DistributedDataParallel does, gives those of one process with the whole batch.

    Args:
        method: The settings.
        world: The processes.
    """

    def __init__(self, method: MethodConfig, world: World) -> None:
        self._quirks = method.quirks
        self._world = world
        self._weights = method.weights

    def __call__(self, outputs: Outputs, views: Views, labels: BranchLabels) -> CrossMostLoss:
        """The loss and its parts.

        Args:
            outputs: The student's.
            views: What it saw.
            labels: What it shall say.

        Returns:
            The loss of this process's part; the mean over the processes is the loss of the batch.
        """
        image = cloud = alignment = None
        if outputs.image is not None and outputs.image_logits is not None and labels.image is not None:
            image = self._image(outputs.image, outputs.image_logits, views, labels.image)
        if outputs.cloud is not None and outputs.cloud_logits is not None and labels.cloud is not None:
            cloud = self._cloud(outputs.cloud, outputs.cloud_logits, views, labels.cloud)
        if outputs.image is not None and outputs.cloud is not None and self._weights.alignment:
            alignment = alignment_loss(
                self._all(outputs.cloud.feature),
                self._all(outputs.image.feature),
                scale=outputs.scale if self._quirks.alignment_scale == "learned" else 1.0,
            )
        return cross_most_loss(image, cloud, alignment, self._weights)

    def _image(self, branch: Branch, logits: Tensor, views: Views, labels: PseudoLabels) -> BranchLosses:
        mask, images = views.image_mask, views.strong_images
        modelling = global_local = None
        if mask is not None and images is not None:
            summary, tokens, pixels = _masked(branch)
            count = self._mean_count(mask)
            divisor = _CHANNELS if self._quirks.pixel_divisor == "channels" else 1 + tokens.shape[1]
            modelling = masked_pixel_loss(pixels, images, mask, divisor=divisor, count=count)
            global_local = global_local_loss(summary, tokens, mask, count=count)
        return BranchLosses(*self._whole_batch(logits, labels), modelling, global_local)

    def _cloud(self, branch: Branch, logits: Tensor, views: Views, labels: PseudoLabels) -> BranchLosses:
        mask = views.cloud_mask
        modelling = global_local = None
        if mask is not None:
            summary, tokens, rebuilt = _masked(branch)
            count = self._mean_count(mask)
            assert branch.target is not None
            assert branch.masked_target is not None
            # The code lets the gradient reach its target, which is the mask token itself.
            target = branch.target.detach() if self._quirks.point_target == "unmasked" else branch.masked_target
            modelling = masked_token_loss(
                rebuilt, target, mask, divisor=float(len(target) * self._world.size), count=count
            )
            global_local = global_local_loss(summary, tokens, mask, count=count)
        return BranchLosses(*self._whole_batch(logits, labels), modelling, global_local)

    def _whole_batch(self, logits: Tensor, labels: PseudoLabels) -> tuple[Tensor, Tensor]:
        everyone = self._all(logits)
        packed = self._all(torch.stack([labels.labels, labels.mask.long()], dim=1))
        return self_training_loss(everyone, packed[:, 0], packed[:, 1] == 1), fairness_loss(everyone)

    def _all(self, rows: Tensor) -> Tensor:
        return gather_with_gradient(rows, self._world)

    def _mean_count(self, mask: Tensor) -> Tensor:
        """How many places are masked, on average over the processes."""
        count = mask.sum().float()
        if self._world.size > 1:
            distributed.all_reduce(count)
            count = count / self._world.size
        return count


def _masked(branch: Branch) -> tuple[Tensor, Tensor, Tensor]:
    assert branch.summary is not None
    assert branch.tokens is not None
    assert branch.reconstruction is not None
    return branch.summary, branch.tokens, branch.reconstruction
