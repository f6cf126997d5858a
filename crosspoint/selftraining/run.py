"""Self-training from its settings to a model: state, steps, and an end when nothing is confident."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from rich.console import Console
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel
from torch.optim import AdamW

from crosspoint.checkpoints.aligned import save_aligned
from crosspoint.config.flat import flatten
from crosspoint.config.selftrain import SelfTrainConfig
from crosspoint.data.pairs import Pairs
from crosspoint.data.sample import Batch
from crosspoint.engine.distributed import World
from crosspoint.engine.optimisation import parameter_groups, warmup_cosine
from crosspoint.engine.randomness import augmentation_generator, seed_everything
from crosspoint.engine.run import Run
from crosspoint.engine.state import TrainingState
from crosspoint.evaluation.aligned_models import NAME_IN_RUN
from crosspoint.models.aligned import AlignedModel
from crosspoint.selftraining.step import LOSSES, SHARES, SelfTrainingStep
from crosspoint.selftraining.student import Outputs, Student, train_only_what_learns
from crosspoint.selftraining.teacher import Teacher
from crosspoint.selftraining.views import ViewMaker

_CONFIDENT = len(LOSSES) + SHARES.index("confident")


class NothingConfident(ValueError):  # noqa: N818 (it says what happened)
    """There was nothing to learn from; all steps until then are in the checkpoint.

    Args:
        epochs: Epochs in a row without a confident label.
        step: Steps done, all of them in the checkpoint.
    """

    def __init__(self, epochs: int, step: int) -> None:
        super().__init__(
            f"self-training needs confident labels, got none in {epochs} epoch{'s'[: epochs > 1]} in a row: lower the "
            f"threshold, take a better aligned start, or go on with --method.labels.patience 0 (all {step} steps until "
            f"then are in the checkpoint)"
        )


class _Patience:
    """Notices epochs without a confident label; the device is waited for at the end of an epoch only."""

    def __init__(self, patience: int, steps_per_epoch: int, device: torch.device) -> None:
        self._patience = patience
        self._steps_per_epoch = steps_per_epoch
        self._streak = torch.zeros((), device=device)  # steps in a row without one

    def exhausted(self, told: Tensor, step: int) -> bool:
        """Whether to stop after a step that told these values."""
        if not self._patience:
            return False
        self._streak = torch.where(told[_CONFIDENT] > 0, 0.0, self._streak + 1.0)
        if step % self._steps_per_epoch:
            return False
        return bool(self._streak >= self._patience * self._steps_per_epoch)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"streak": self._streak.clone()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over what :meth:`state_dict` gave."""
        self._streak = state["streak"].to(self._streak.device)


def self_train(
    config: SelfTrainConfig, model: AlignedModel, pairs: Pairs, console: Console, world: World
) -> tuple[AlignedModel, AlignedModel]:
    """Self-trains; checkpoints, settings, logs and the model go to ``config.output.directory``.

    Args:
        config: The settings.
        model: Where to start, with its classifier; it becomes the student.
        pairs: The unlabelled objects.
        console: Where to talk to the user.
        world: The processes; all of them call this.

    Returns:
        Student and teacher after the last step, in eval mode.

    Raises:
        Interrupted: After a signal, when the checkpoint is written.
        NothingConfident: When no label was confident for as many epochs as patience has.
        ValueError, OSError: If settings, data, the folder or a checkpoint are not usable.
        FloatingPointError: If the loss does not stay finite.
    """
    dataset, method, settings = pairs.train, config.method, config.method.optimisation
    job = Run(
        dataset=dataset,
        batch_size=settings.batch_size,
        epochs=settings.epochs,
        seed=config.seed,
        workers=config.data.workers,
        output=config.output,
        resume=config.resume,
        settings=flatten(config),
        defaults=flatten(SelfTrainConfig(init=config.init)),
        label=f"self-training ({method.labels.source})",
        losses=(*LOSSES, *SHARES),
    )
    plan = job.sampler()
    state, teacher = initial_state(config, model, plan.steps_per_epoch, plan.total_steps, world)
    patience = state.patience = _Patience(method.labels.patience, plan.steps_per_epoch, world.device)
    job.begin(state, world)
    console.print(
        f"self-training ({method.labels.source}) on {len(dataset)} objects under {len(model.class_names)} classes, "
        f"{plan.total_steps - state.step} of {plan.total_steps} steps to go"
    )
    student = Student(model)
    network: Callable[..., Outputs] = student
    if world.size > 1:
        network = DistributedDataParallel(student, [world.device] if world.device.type == "cuda" else None)
    train_on = SelfTrainingStep(
        state, teacher, network, method, world, ViewMaker(method, model, dataset.up_axis, config.up_axis)
    )

    def step(batch: Batch) -> Tensor:
        told = train_on(batch)
        if patience.exhausted(told, state.step):
            job.save(state, world)
            raise NothingConfident(method.labels.patience, state.step)
        return told

    job.train(state, step, console, world)
    if world.is_main:
        save_aligned(config.output.directory / NAME_IN_RUN, model)
    return model.eval(), teacher.model


def initial_state(
    config: SelfTrainConfig, model: AlignedModel, steps_per_epoch: int, total_steps: int, world: World
) -> tuple[TrainingState[AlignedModel], Teacher[AlignedModel]]:
    """Student, optimiser and schedule before the first step, and the teacher that is in the state too.

    Args:
        config: The settings.
        model: Where to start, with its classifier; it becomes the student.
        steps_per_epoch: Steps of an epoch, in which the warm-up is counted.
        total_steps: Steps of the whole run.
        world: The processes.
    """
    seed_everything(config.seed)
    train_only_what_learns(model, config.method)
    model = model.to(world.device)
    method = config.method
    settings, momentum = method.optimisation, method.teacher
    groups = parameter_groups(
        model,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        layer_decay=settings.layer_decay,
        decay_scalars=method.quirks.decay_temperature,
    )
    optimiser = AdamW(groups)
    schedule = warmup_cosine(
        optimiser,
        warmup_steps=round(settings.warmup_epochs * steps_per_epoch),
        total_steps=total_steps,
        end=settings.last_share,
    )
    teacher = Teacher(model, start=momentum.start, end=momentum.end, ramp_steps=momentum.ramp_steps)
    generator = augmentation_generator(config.seed, world.rank)
    return TrainingState(model, optimiser, schedule, generator, teacher=teacher), teacher
