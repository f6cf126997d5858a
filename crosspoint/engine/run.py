"""A training of any kind from its first or its last saved step to its end: folder, checkpoints, batches, records."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from torch import Tensor

from crosspoint.config.output import OutputConfig
from crosspoint.data.labelled import CloudDataset
from crosspoint.data.sample import Batch
from crosspoint.engine.checkpoint import load_checkpoint, require_same_run, save_checkpoint
from crosspoint.engine.distributed import World
from crosspoint.engine.loading import load_batches, save_before_failing
from crosspoint.engine.log import RunLog
from crosspoint.engine.loop import run_steps
from crosspoint.engine.progress import TrainingProgress
from crosspoint.engine.report import write_json
from crosspoint.engine.sampler import ResumableBatchSampler
from crosspoint.engine.state import TrainingState

CHECKPOINT_NAME = "checkpoint.pt"
BEST_NAME = "best.pt"
SETTINGS_NAME = "config.json"


@dataclass(frozen=True)
class Run:
    """A training: what decides it beside its state and step; how it begins, saves and goes on."""

    dataset: CloudDataset
    """The objects."""
    batch_size: int
    """Objects per step, over all processes together."""
    epochs: int
    """Passes over the objects."""
    seed: int
    """Seed of their order."""
    workers: int
    """Processes that load data beside each training process."""
    output: OutputConfig
    """Where results go, and how often."""
    resume: bool
    """Whether to continue from the last checkpoint."""
    settings: Mapping[str, Any]
    """All settings, flattened, as they are written into checkpoints."""
    defaults: Mapping[str, Any]
    """The same for the settings' defaults, for checkpoints from before a setting existed."""
    label: str = "pre-training"
    """What is being done, for the user."""
    losses: Sequence[str] = ("loss", "intra", "cross")
    """Names of the values that a step returns, the minimised loss first."""

    @property
    def checkpoint(self) -> Path:
        """The file of the last checkpoint."""
        return self.output.directory / CHECKPOINT_NAME

    def sampler(self, start_step: int = 0, world: World | None = None) -> ResumableBatchSampler:
        """The order of the objects from a step on, for one of the processes."""
        return ResumableBatchSampler(
            len(self.dataset),
            self.batch_size,
            self.epochs,
            self.seed,
            start_step=start_step,
            rank=0 if world is None else world.rank,
            world_size=1 if world is None else world.size,
        )

    def begin(self, state: TrainingState[Any], world: World) -> None:
        """Takes over the last checkpoint, or writes the first one.

        A checkpoint is written at once because an unwritable folder or a full disk then shows now, and because the run
        can be resumed from here on.

        Raises:
            ValueError, OSError: If the checkpoint is not usable, or is of another run.
        """
        if self.resume:
            checkpoint = load_checkpoint(self.checkpoint)
            require_same_run(
                self.checkpoint,
                checkpoint,
                self.settings,
                steps_per_epoch=self.sampler().steps_per_epoch,
                processes=world.size,
                defaults=self.defaults,
            )
            state.restore(checkpoint, world)
        else:
            self.save(state, world)
        if world.is_main:
            write_json(self.output.directory / SETTINGS_NAME, self.settings)

    def captured(self, state: TrainingState[Any], world: World) -> dict[str, Any]:
        """Everything that a checkpoint of this moment holds; every process must call it."""
        extent = {"steps_per_epoch": self.sampler().steps_per_epoch, "processes": world.size}
        return {**state.capture(world), "config": dict(self.settings), **extent}

    def save(self, state: TrainingState[Any], world: World) -> None:
        """Writes a checkpoint of this moment; every process must call it.

        Raises:
            OSError: If it cannot be written.
        """
        state_now = self.captured(state, world)
        if world.is_main:
            save_checkpoint(self.checkpoint, state_now)

    def train(self, state: TrainingState[Any], step: Callable[[Batch], Tensor], console: Console, world: World) -> None:
        """Runs all remaining steps; `begin` must have been called.

        Args:
            state: What it changes.
            step: Moves the state by one batch and returns the values that `losses` names.
            console: Where to talk to the user.
            world: The processes; all of them call this.

        Raises:
            Interrupted: After a signal, when the checkpoint is written.
            ValueError, OSError: If data cannot be read or a file cannot be written.
            FloatingPointError: If the loss does not stay finite.
        """
        sampler, start_step = self.sampler(state.step, world), state.step
        if start_step >= sampler.total_steps:
            return

        def save_now() -> None:
            self.save(state, world)

        batches = load_batches(self.dataset, sampler, workers=self.workers, pin_memory=world.device.type == "cuda")
        if world.size == 1:  # with several processes, the others would wait for this one's part of a checkpoint
            batches = save_before_failing(batches, lambda: save_finite(state, save_now), lambda: state.step)
        log = RunLog(self.output.directory, start_step, tensorboard=self.output.tensorboard) if world.is_main else None
        progress = TrainingProgress(console, sampler.total_steps, start_step, self.label)

        def report(step: int, values: dict[str, float]) -> None:
            if log is not None:
                log.write(step, {"epoch": (step - 1) // sampler.steps_per_epoch, **values})
            progress.update(step, values[self.losses[0]], values["objects_per_second"])

        try:
            with progress, closing(batches):
                run_steps(
                    batches,
                    step,
                    start_step=start_step,
                    total_steps=sampler.total_steps,
                    objects_per_step=self.batch_size,
                    learning_rate=lambda: float(max(state.schedule.get_last_lr())),
                    save=save_now,
                    report=report,
                    output=self.output,
                    world=world,
                    losses=self.losses,
                )
        finally:
            if log is not None:
                log.close()


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


def save_finite(state: TrainingState[Any], save: Callable[[], None]) -> None:
    """Saves between two reports of the loss, which would have found out."""
    if not all(bool(parameter.isfinite().all()) for parameter in state.model.parameters()):
        raise FloatingPointError(f"the weights must stay finite, got NaN or infinity at step {state.step}")
    save()
