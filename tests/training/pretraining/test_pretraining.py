"""The best network is kept by held-back training clouds alone."""

from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from crosspoint.config.output import OutputConfig
from crosspoint.config.pretrain import (
    Config,
    DataConfig,
    ModelConfig,
    OptimisationConfig,
    ProbeConfig,
)
from crosspoint.engine.checkpoint import load_checkpoint
from crosspoint.engine.distributed import World
from crosspoint.engine.run import prepare_directory
from crosspoint.pretraining.train import pretrain

WORLD = World(0, 1, torch.device("cpu"))


def config(directory: Path, **probe: Any) -> Config:
    return Config(
        data=DataConfig(per_class=1, num_points=16, image_size=32),
        model=ModelConfig(k=3, widths=(4,), embedding=4, cloud_hidden=4, image_hidden=4, projection=4, resnet_width=4),
        optimisation=OptimisationConfig(epochs=3, batch_size=12),
        probe=ProbeConfig(per_class=4, num_points=16, **probe),
        output=OutputConfig(directory=directory, tensorboard=False),
        device="cpu",
    )


def steps(directory: Path, scores: list[float], **probe: Any) -> tuple[int, int]:
    prepare_directory(directory, resume=False)
    answers = iter(scores)
    pretrain(config(directory, **probe), Console(quiet=True), WORLD, lambda model: next(answers))
    assert next(answers, None) is None  # every score was asked for
    return load_checkpoint(directory / "checkpoint.pt")["step"], load_checkpoint(directory / "best.pt")["step"]


@pytest.mark.parametrize(
    ("scores", "best"), [([0.1, 0.3, 0.2], 4), ([0.5, 0.5, 0.5], 2), ([0.1, 0.2, 0.3], 6)], ids=str
)
def test_the_best_epoch_is_kept_the_earlier_in_a_tie(tmp_path: Path, scores: list[float], best: int) -> None:
    assert steps(tmp_path, scores) == (6, best)
    assert load_checkpoint(tmp_path / "best.pt")["score"] == max(scores)


def test_looking_less_often(tmp_path: Path) -> None:
    assert steps(tmp_path, [0.4], select_epochs=2) == (6, 4)


def test_not_looking_at_all(tmp_path: Path) -> None:
    prepare_directory(tmp_path, resume=False)
    pretrain(config(tmp_path, select_epochs=0), Console(quiet=True), WORLD, lambda model: 1.0)
    assert not (tmp_path / "best.pt").exists()
