"""Pre-training: prepare the folder, restore, train, keep checkpoints."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from rich.console import Console
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from crosspoint.config import Config
from crosspoint.data.sample import Batch
from crosspoint.engine.checkpoint import load_checkpoint, require_same_run, save_checkpoint
from crosspoint.engine.distributed import World
from crosspoint.engine.loading import load_batches, save_before_failing
from crosspoint.engine.log import RunLog
from crosspoint.engine.loop import train
from crosspoint.engine.progress import TrainingProgress
from crosspoint.engine.report import write_json
from crosspoint.engine.sampler import ResumableBatchSampler
from crosspoint.engine.sources import CloudDataset, pretraining_dataset
from crosspoint.engine.state import TrainingState, initial_state
from crosspoint.engine.step import TrainingStep
from crosspoint.flat_config import flatten
from crosspoint.models.crosspoint import CrossPoint, Projections

CHECKPOINT_NAME = "checkpoint.pt"
BEST_NAME = "best.pt"
SETTINGS_NAME = "config.json"

Score = Callable[[CrossPoint], float]


def prepare_directory(directory: Path, *, resume: bool) -> None:
    """Makes sure that a run can write its folder and neither overwrites a run nor resumes nothing.

    Raises:
        FileExistsError: If there is a run and it is not to be resumed.
        FileNotFoundError: If there is none to resume.
        OSError: If the folder is not writable.
    """
    if (directory / CHECKPOINT_NAME).exists() and not resume:
        raise FileExistsError(
            f"output.directory must not hold a run unless --resume continues it, got {directory} with a checkpoint"
        )
    if resume and not (directory / CHECKPOINT_NAME).exists():
        raise FileNotFoundError(f"--resume needs a checkpoint in output.directory, got none in {directory}")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        raise OSError(f"output.directory must be a writable folder, got {directory} ({error.strerror})") from error


def pretrain(config: Config, console: Console, world: World, score: Score | None = None) -> CrossPoint:
    """Pre-trains; checkpoints, settings and logs go to ``config.output.directory``.

    Args:
        config: The settings.
        console: Where to talk to the user.
        world: The processes; all of them call this.
        score: How good a network is, by anything but test data; every ``config.probe.select_epochs`` epochs the main
            process asks, and the best network so far is kept in ``best.pt``. None keeps the last one only.

    Returns:
        The network after the last step.

    Raises:
        Interrupted: After a signal, when the checkpoint is written.
        ValueError, OSError: If settings, data, the folder or a checkpoint are not usable.
        FloatingPointError: If the loss does not stay finite.
    """
    directory, settings = config.output.directory, config.optimisation
    dataset = pretraining_dataset(config)
    plan = ResumableBatchSampler(len(dataset), settings.batch_size, settings.epochs, config.seed)
    state = initial_state(config, plan.total_steps, world)
    path, flat = directory / CHECKPOINT_NAME, flatten(config)
    if config.resume:
        checkpoint = load_checkpoint(path)
        require_same_run(path, checkpoint, flat, steps_per_epoch=plan.steps_per_epoch, processes=world.size)
        state.restore(checkpoint, world)

    def capture() -> dict[str, Any]:
        extent = {"steps_per_epoch": plan.steps_per_epoch, "processes": world.size}
        return {**state.capture(world), "config": flat, **extent}

    def save() -> None:
        captured = capture()
        if world.is_main:
            save_checkpoint(path, captured)

    best = _best_score(directory / BEST_NAME, state.step) if config.resume else -math.inf

    def keep_best() -> None:
        nonlocal best
        captured = capture()
        if world.is_main and score is not None and (reached := score(state.model)) > best:
            best = reached
            save_checkpoint(directory / BEST_NAME, {**captured, "score": reached})

    if not config.resume:
        save()  # at once: an unwritable folder or a full disk shows now, and --resume works from here on
    if world.is_main:
        write_json(directory / SETTINGS_NAME, flat)
    console.print(
        f"pre-training on {len(dataset)} objects, {plan.total_steps - state.step} of {plan.total_steps} steps to go"
    )
    if rendered := getattr(dataset, "rendered", 0):
        console.print(f"{rendered} of them have no pictures; views of them are rendered")
    if state.step < plan.total_steps:
        _train(config, console, world, state, dataset, save, keep_best)
    return state.model


def _best_score(path: Path, step: int) -> float:
    """Score of the best network up to a step; one of a later step will be reached again."""
    if not path.exists():
        return -math.inf
    checkpoint = load_checkpoint(path)
    return float(checkpoint["score"]) if checkpoint["step"] <= step else -math.inf


def _save_finite(state: TrainingState, save: Callable[[], None]) -> None:
    """Saves between two reports of the loss, which would have found out."""
    if not all(bool(parameter.isfinite().all()) for parameter in state.model.parameters()):
        raise FloatingPointError(f"the weights must stay finite, got NaN or infinity at step {state.step}")
    save()


def _train(
    config: Config,
    console: Console,
    world: World,
    state: TrainingState,
    dataset: CloudDataset,
    save: Callable[[], None],
    keep_best: Callable[[], None],
) -> None:
    settings, start_step = config.optimisation, state.step
    sampler = ResumableBatchSampler(
        len(dataset),
        settings.batch_size,
        settings.epochs,
        config.seed,
        start_step=start_step,
        rank=world.rank,
        world_size=world.size,
    )
    batches = load_batches(dataset, sampler, workers=config.data.workers, pin_memory=world.device.type == "cuda")
    if world.size == 1:  # with several processes, the others would wait for this one's part of a checkpoint
        batches = save_before_failing(batches, lambda: _save_finite(state, save), lambda: state.step)
    network: Callable[[Tensor, Tensor, Tensor], Projections] = state.model
    if world.size > 1:
        network = DistributedDataParallel(state.model, [world.device] if world.device.type == "cuda" else None)
    train_on = TrainingStep(state, network, config, world, dataset.up_axis)

    every = 0 if config.probe.dataset == "none" else config.probe.select_epochs * sampler.steps_per_epoch

    def step(batch: Batch) -> Tensor:
        losses = train_on(batch)
        if every and state.step % every == 0:
            keep_best()
        return losses

    log = RunLog(config.output.directory, start_step, tensorboard=config.output.tensorboard) if world.is_main else None
    progress = TrainingProgress(console, sampler.total_steps, start_step)

    def report(step: int, values: dict[str, float]) -> None:
        if log is not None:
            log.write(step, {"epoch": (step - 1) // sampler.steps_per_epoch, **values})
        progress.update(step, values["loss"], values["objects_per_second"])

    try:
        with progress, closing(batches):
            train(
                batches,
                step,
                start_step=start_step,
                total_steps=sampler.total_steps,
                objects_per_step=settings.batch_size,
                learning_rate=lambda: float(state.schedule.get_last_lr()[0]),
                save=save,
                report=report,
                output=config.output,
                world=world,
            )
    finally:
        if log is not None:
            log.close()
