"""CrossPoint's pre-training as a run."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from crosspoint.config.flat import flatten
from crosspoint.config.pretrain import Config
from crosspoint.data.sample import Batch
from crosspoint.engine.checkpoint import load_checkpoint, save_checkpoint
from crosspoint.engine.distributed import World
from crosspoint.engine.run import BEST_NAME, Run
from crosspoint.models.crosspoint import CrossPoint, Projections
from crosspoint.pretraining.datasets import pretraining_dataset
from crosspoint.pretraining.state import initial_state
from crosspoint.pretraining.step import TrainingStep

Score = Callable[[CrossPoint], float]


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
    dataset = pretraining_dataset(config)
    run = Run(
        dataset=dataset,
        batch_size=config.optimisation.batch_size,
        epochs=config.optimisation.epochs,
        seed=config.seed,
        workers=config.data.workers,
        output=config.output,
        resume=config.resume,
        settings=flatten(config),
        defaults=flatten(Config()),
    )
    plan = run.sampler()
    state = initial_state(config, plan.total_steps, world)
    run.begin(state, world)
    console.print(
        f"pre-training on {len(dataset)} objects, {plan.total_steps - state.step} of {plan.total_steps} steps to go"
    )
    if rendered := getattr(dataset, "rendered", 0):
        console.print(f"{rendered} of them have no pictures; views of them are rendered")

    best_path = config.output.directory / BEST_NAME
    best = _best_score(best_path, state.step) if config.resume else -math.inf
    every = 0 if config.probe.dataset == "none" else config.probe.select_epochs * plan.steps_per_epoch
    network: Callable[[Tensor, Tensor, Tensor], Projections] = state.model
    if world.size > 1:
        network = DistributedDataParallel(state.model, [world.device] if world.device.type == "cuda" else None)
    train_on = TrainingStep(state, network, config, world, dataset.up_axis)

    def step(batch: Batch) -> Tensor:
        nonlocal best
        losses = train_on(batch)
        if every and state.step % every == 0:
            now = run.captured(state, world)
            if world.is_main and score is not None and (reached := score(state.model)) > best:
                best = reached
                save_checkpoint(best_path, {**now, "score": reached})
        return losses

    run.train(state, step, console, world)
    return state.model


def _best_score(path: Path, step: int) -> float:
    """Score of the best network up to a step; one of a later step will be reached again."""
    if not path.exists():
        return -math.inf
    checkpoint = load_checkpoint(path)
    return float(checkpoint["score"]) if checkpoint["step"] <= step else -math.inf
