"""The state of a pre-training before its first step."""

from __future__ import annotations

from torch.optim import Adam
from torch.optim.lr_scheduler import CosineAnnealingLR

from crosspoint.config.pretrain import Config
from crosspoint.engine.distributed import World
from crosspoint.engine.randomness import augmentation_generator, seed_everything
from crosspoint.engine.state import TrainingState
from crosspoint.models.crosspoint import CrossPoint


def initial_model(config: Config) -> CrossPoint:
    """The network at random initialisation, on the CPU: the same weights for the same seed and sizes."""
    seed_everything(config.seed)
    return CrossPoint(config.model)


def initial_state(config: Config, total_steps: int, world: World) -> TrainingState[CrossPoint]:
    """The state before the first step.

    The learning rate at step t of T is half of (1 + cos(pi t / T)) of its start; t counts from 0 and the schedule moves
    after each optimiser step, so the first step has the full rate and the last one is still above 0.

    Args:
        config: The run's settings.
        total_steps: Steps of the whole run, T.
        world: The processes.
    """
    model = initial_model(config).to(world.device)
    settings = config.optimisation
    optimiser = Adam(model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    schedule = CosineAnnealingLR(optimiser, T_max=total_steps)
    return TrainingState(model, optimiser, schedule, augmentation_generator(config.seed, world.rank))
