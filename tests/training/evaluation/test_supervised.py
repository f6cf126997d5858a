"""Training with labels: it learns, it resumes bit for bit, and it never continues another training."""

import dataclasses
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import nn

from crosspoint.config.evaluate import SupervisedConfig
from crosspoint.data.sample import Sample
from crosspoint.engine.interrupt import Interrupted
from crosspoint.evaluation.datasets import first_of_each_class, share_of_each_class
from crosspoint.evaluation.supervised import SupervisedRun, train_supervised

QUIET = Console(quiet=True)


class Sticks:
    """Clouds that are long along one of two axes."""

    class_names = ("x", "y")
    up_axis = "y"

    def __len__(self) -> int:
        return 20

    def __getitem__(self, key: Any) -> Sample:
        index = key[0] if isinstance(key, tuple) else key
        points = torch.rand(6, 3, generator=torch.Generator().manual_seed(index)) - 0.5
        label = index % 2
        return Sample(points=points * (torch.eye(3)[label] + 0.1), label=torch.tensor(label))


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 2))

    def forward(self, points: torch.Tensor) -> torch.Tensor:
        return self.layers(points.std(dim=1))


def make(folder: Path, *, seed: int = 0, share: float = 1.0, **settings: Any) -> SupervisedRun:
    torch.manual_seed(0)
    return SupervisedRun(
        network=Net(),
        dataset=Sticks(),  # type: ignore[arg-type]
        outputs=lambda network, batch, points: (network(points), batch["label"]),
        settings=SupervisedConfig(**{"epochs": 10, "batch_size": 5, "learning_rate": 0.05, **settings}),
        identity={"share": share},
        seed=seed,
        axis_shift=0,
        folder=folder,
        label="sticks",
        device=torch.device("cpu"),
    )


def weights(run: SupervisedRun) -> list[torch.Tensor]:
    return [value.clone() for value in run.network.state_dict().values()]


def test_it_learns(tmp_path: Path) -> None:
    run = make(tmp_path, epochs=30)
    train_supervised(run, QUIET)
    data = [Sticks()[index] for index in range(20)]
    predicted = run.network(torch.stack([one["points"] for one in data])).argmax(dim=1)
    assert (predicted == torch.stack([one["label"] for one in data])).float().mean() > 0.9


@pytest.mark.parametrize("steps", [1, 17])
def test_a_resumed_training_is_bit_identical(tmp_path: Path, steps: int) -> None:
    undisturbed = make(tmp_path / "one")
    train_supervised(undisturbed, QUIET)

    def outputs(network: nn.Module, batch: Any, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        nonlocal steps
        steps -= 1
        if steps == 0:
            signal.raise_signal(signal.SIGINT)
        return network(points), batch["label"]

    stopped = dataclasses.replace(make(tmp_path / "two"), outputs=outputs)
    with pytest.raises(Interrupted):
        train_supervised(stopped, QUIET)
    assert len(list((tmp_path / "two").iterdir())) == 1
    resumed = make(tmp_path / "two")
    train_supervised(resumed, QUIET)
    assert all(torch.equal(one, other) for one, other in zip(weights(resumed), weights(undisturbed), strict=True))


def test_scores_of_a_resumed_training_are_all_there(tmp_path: Path) -> None:
    asked: list[int] = []

    def score(network: nn.Module) -> dict[str, Any]:
        assert not network.training
        asked.append(len(asked))
        if len(asked) == 4:
            signal.raise_signal(signal.SIGTERM)
        return {"number": len(asked)}

    with pytest.raises(Interrupted):
        train_supervised(make(tmp_path), QUIET, after_epoch=score)
    scores = train_supervised(make(tmp_path), QUIET, after_epoch=score)
    assert [entry["number"] for entry in scores] == list(range(1, 11))


@pytest.mark.parametrize("change", [{"seed": 1}, {"share": 0.5}, {"epochs": 11}, {"learning_rate": 0.1}])
def test_another_training_has_another_file(tmp_path: Path, change: dict[str, Any]) -> None:
    assert make(tmp_path, **change).path != make(tmp_path).path


def test_what_does_not_change_the_weights_keeps_the_file(tmp_path: Path) -> None:
    assert make(tmp_path, workers=2, checkpoint_seconds=1.0).path == make(tmp_path).path


def test_other_first_weights_have_another_file(tmp_path: Path) -> None:
    run = make(tmp_path)
    before = run.path
    with torch.no_grad():
        next(run.network.parameters())[0, 0] += 1e-3
    assert run.path != before


def test_shares_are_nested_and_keep_every_class() -> None:
    labels = np.repeat([0, 1, 2], [40, 10, 3])
    small, large = (set(share_of_each_class(labels, share, 0)) for share in (0.1, 0.5))
    assert small < large
    assert np.bincount(labels[sorted(small)]).tolist() == [4, 1, 1]
    assert set(share_of_each_class(labels, 1.0, 0)) == set(range(53))
    assert set(share_of_each_class(labels, 0.1, 1)) != small
    few = first_of_each_class(labels, 5, 0)
    assert np.bincount(labels[few]).tolist() == [5, 5, 3]
    assert set(first_of_each_class(labels, 2, 0)) < set(few)
    assert first_of_each_class(labels, None, 0).tolist() == list(range(53))
