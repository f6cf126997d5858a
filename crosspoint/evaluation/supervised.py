"""Training with labels, resumable at any step like the pre-training."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Adam
from torch.optim.lr_scheduler import CosineAnnealingLR

from crosspoint.config.evaluate import SupervisedConfig
from crosspoint.config.output import OutputConfig
from crosspoint.data.augment.clouds import random_scale, random_translation
from crosspoint.data.labelled import CloudDataset
from crosspoint.data.sample import Batch
from crosspoint.engine.checkpoint import load_checkpoint, save_checkpoint
from crosspoint.engine.distributed import World
from crosspoint.engine.loading import load_batches, save_before_failing
from crosspoint.engine.loop import run_steps
from crosspoint.engine.progress import TrainingProgress
from crosspoint.engine.randomness import augmentation_generator, capture, restore
from crosspoint.engine.sampler import ResumableBatchSampler

_SCALE = (2.0 / 3.0, 1.5)
_FREE = ("workers", "checkpoint_seconds")  # settings that do not change the weights
_MOVE = 0.2  # of the extent; both ranges are those of DGCNN's training

Outputs = Callable[[nn.Module, Batch, Tensor], tuple[Tensor, Tensor]]
"""From network, batch and its points (turned, augmented, on the device) to logits (M, K) and targets (M,)."""


@dataclass(frozen=True)
class SupervisedRun:
    """A training with labels.

    Everything that decides the weights is named: the file of its checkpoint bears a digest of it, so that the same
    command continues where it was stopped, and another one never continues it.
    """

    network: nn.Module
    """What is trained; on the device."""
    dataset: CloudDataset
    """The labelled clouds."""
    outputs: Outputs
    """What to compare with what."""
    settings: SupervisedConfig
    """How to train."""
    identity: Mapping[str, Any]
    """What else decides the weights (dataset, share of the labels, ...), as plain values."""
    seed: int
    """Seed of order and augmentations."""
    axis_shift: int
    """By how much to roll the coordinates first."""
    folder: Path
    """Where the checkpoint goes."""
    label: str
    """What the progress bar says."""
    device: torch.device
    """Where to compute."""

    @property
    def path(self) -> Path:
        """The checkpoint."""
        start = hashlib.sha256()
        for name, value in self.network.state_dict().items():
            start.update(name.encode())
            start.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
        kept = {name: value for name, value in vars(self.settings).items() if name not in _FREE}
        content = {"settings": kept, "identity": dict(self.identity), "seed": self.seed, "start": start.hexdigest()}
        digest = hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()
        return self.folder / f"{digest[:16]}.pt"


def train_supervised(
    run: SupervisedRun, console: Console, *, after_epoch: Callable[[nn.Module], dict[str, Any]] | None = None
) -> list[dict[str, Any]]:
    """Trains the network in place, from the checkpoint of an earlier try if there is one.

    Cross-entropy, Adam, cosine schedule to 0 (one step at a time). On a CPU an interrupted run gives the weights of one
    that was not, bit for bit.

    Args:
        run: The training.
        console: Where to draw the progress.
        after_epoch: Asked for scores (plain values) after every epoch; the network is in eval mode then. Only the
            official protocol, which looks at test data, has a use for it.

    Returns:
        The scores so far, one per epoch; empty without ``after_epoch``.

    Raises:
        Interrupted: After a signal, when the checkpoint is written.
        OSError, ValueError: If data or checkpoint cannot be read or written.
        FloatingPointError: If the loss does not stay finite.
    """
    settings, network, path = run.settings, run.network, run.path
    torch.manual_seed(run.seed)  # dropout
    batch_size = min(settings.batch_size, len(run.dataset))
    plan = ResumableBatchSampler(len(run.dataset), batch_size, settings.epochs, run.seed)
    optimiser = Adam(network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    schedule = CosineAnnealingLR(optimiser, T_max=plan.total_steps)
    generator = augmentation_generator(run.seed, 0)
    start, scores = 0, list[dict[str, Any]]()
    if path.exists():
        state = load_checkpoint(path)
        network.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        schedule.load_state_dict(state["schedule"])
        restore(state["randomness"][0], generator)
        start, scores = int(state["step"]), list(state["config"]["scores"])
    done = start

    def save() -> None:
        run.folder.mkdir(parents=True, exist_ok=True)
        save_checkpoint(
            path,
            {
                "config": {"identity": dict(run.identity), "scores": scores},
                "model": network.state_dict(),
                "optimiser": optimiser.state_dict(),
                "schedule": schedule.state_dict(),
                "randomness": [capture(generator)],
                "step": done,
                "steps_per_epoch": plan.steps_per_epoch,
                "processes": 1,
            },
        )

    def step(batch: Batch) -> Tensor:
        nonlocal done
        points = batch["points"].roll(run.axis_shift, dims=-1).to(run.device, non_blocking=True)
        if settings.augment:
            points = random_translation(random_scale(points, *_SCALE, generator), _MOVE, generator)
        network.train()
        logits, targets = run.outputs(network, batch, points)
        loss = functional.cross_entropy(logits, targets, label_smoothing=settings.label_smoothing)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        done += 1
        if after_epoch is not None and done % plan.steps_per_epoch == 0:
            network.eval()
            scores.append(after_epoch(network))
        return loss.detach().reshape(1)

    if start < plan.total_steps:
        sampler = ResumableBatchSampler(len(run.dataset), batch_size, settings.epochs, run.seed, start_step=start)
        batches = load_batches(run.dataset, sampler, workers=settings.workers, pin_memory=run.device.type == "cuda")
        batches = save_before_failing(batches, save, lambda: done)
        progress = TrainingProgress(console, plan.total_steps, start, run.label)
        with progress, closing(batches):
            run_steps(
                batches,
                step,
                start_step=start,
                total_steps=plan.total_steps,
                objects_per_step=batch_size,
                learning_rate=lambda: float(schedule.get_last_lr()[0]),
                save=save,
                report=lambda count, values: progress.update(count, values["loss"], values["objects_per_second"]),
                output=OutputConfig(
                    checkpoint_steps=plan.total_steps, checkpoint_seconds=settings.checkpoint_seconds, log_steps=1
                ),
                world=World(0, 1, run.device),
                losses=("loss",),
            )
    network.eval()
    return scores
