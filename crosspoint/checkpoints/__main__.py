"""``python -m crosspoint.checkpoints info|accuracy|export``: what is in a file of weights, and how good it is."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import tyro
from rich.console import Console
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from crosspoint.checkpoints.aligned_report import AlignedReport
from crosspoint.checkpoints.official import LoadReport, export_official, load_official
from crosspoint.checkpoints.state_files import plain_state
from crosspoint.checkpoints.ulip import is_of_aligned_model, load_ulip
from crosspoint.config.flat import model_config
from crosspoint.data.datasets.modelnet40 import ModelNet40
from crosspoint.data.sample import Batch, Sample, collate
from crosspoint.engine.atomic import replacing
from crosspoint.engine.checkpoint import load_checkpoint
from crosspoint.models.crosspoint import CrossPoint

_PROGRAM = "python -m crosspoint.checkpoints"
_USER_ERROR = 2
_BATCH = 32


@dataclass(frozen=True)
class Info:
    """Tells whose weights a file holds, and what of it our network takes over."""

    file: Annotated[Path, tyro.conf.Positional]
    """A state dict of another project."""


@dataclass(frozen=True)
class Accuracy:
    """Classifies the test clouds of ModelNet40 with a classifier of another project."""

    file: Annotated[Path, tyro.conf.Positional]
    """A state dict of another project."""
    root: Path
    """Folder of ModelNet40's HDF5 files."""
    num_points: int = 1024
    """Points per cloud."""
    axes: str = "x,y,z"
    """Which coordinates of the clouds the network gets as x, y and z, such as --axes=-x,z,y."""


@dataclass(frozen=True)
class Export:
    """Writes the weights of a run as the official code of CrossPoint names them."""

    checkpoint: Annotated[Path, tyro.conf.Positional]
    """Checkpoint of a run of ours."""
    output: Annotated[Path, tyro.conf.Positional]
    """File to write; it must not exist."""
    part: str = "cloud"
    """Which half of the network: cloud or image."""


def _info(arguments: Info, console: Console) -> None:
    state = plain_state(arguments.file)
    report: LoadReport | AlignedReport
    report = load_ulip(state) if is_of_aligned_model(state) else load_official(state, strict=False)
    console.print(str(report), soft_wrap=True, highlight=False)


def parse_axes(axes: str) -> tuple[list[int], Tensor]:
    """Columns and signs of a mapping such as ``-x,z,y``.

    Raises:
        ValueError: If it does not name each axis once.
    """
    words = [word.strip() for word in axes.split(",")]
    columns = ["xyz".find(word.removeprefix("-")) if word.removeprefix("-") else -1 for word in words]
    if sorted(columns) != [0, 1, 2]:
        raise ValueError(f"axes must name x, y and z once each, with or without a minus, got {axes}")
    return columns, torch.tensor([-1.0 if word.startswith("-") else 1.0 for word in words])


@torch.no_grad()
def accuracy(classifier: nn.Module, dataset: Dataset[Sample], axes: str = "x,y,z") -> float:
    """Share of a dataset's clouds that a classifier names rightly, 0 to 1."""
    columns, signs = parse_axes(axes)
    right = total = 0
    batch: Batch
    for batch in DataLoader(dataset, batch_size=_BATCH, collate_fn=collate):
        logits = classifier(batch["points"][..., columns] * signs)
        right += int((logits.argmax(dim=1) == batch["label"]).sum())
        total += len(logits)
    return right / total


def _accuracy(arguments: Accuracy, console: Console) -> None:
    parse_axes(arguments.axes)
    dataset = ModelNet40(arguments.root, "test", arguments.num_points)
    report: LoadReport = load_official(arguments.file)
    classes = getattr(report.module, "classes", None)
    if "classification" not in report.layout or classes != len(dataset.class_names):
        raise ValueError(f"the weights must be a classifier of {len(dataset.class_names)} classes, got {report}")
    share = accuracy(report.module, dataset, arguments.axes)
    console.print(str(report), soft_wrap=True, highlight=False)
    console.print(f"{100 * share:.2f} % of {len(dataset)} test clouds, {arguments.num_points} points each")


def _export(arguments: Export, console: Console) -> None:
    if arguments.part not in ("cloud", "image"):
        raise ValueError(f"part must be cloud or image, got {arguments.part}")
    if arguments.output.exists():
        raise FileExistsError(f"output must not exist, got {arguments.output}")
    state = load_checkpoint(arguments.checkpoint)
    network = CrossPoint(model_config(state["config"], arguments.checkpoint))
    network.load_state_dict(state["model"])
    halves = {
        "cloud": (network.cloud_encoder, network.cloud_head),
        "image": (network.image_encoder, network.image_head),
    }
    exported = export_official(*halves[arguments.part])
    with replacing(arguments.output, "the weights") as file:
        torch.save(exported, file)
    console.print(f"{len(exported)} entries written to {arguments.output}", soft_wrap=True, highlight=False)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code: 0, or 2 after a user's error."""
    chosen = tyro.cli(
        Info | Accuracy | Export,
        args=sys.argv[1:] if arguments is None else arguments,
        prog=_PROGRAM,
        description=__doc__,
    )
    console = Console()
    try:
        if isinstance(chosen, Info):
            _info(chosen, console)
        elif isinstance(chosen, Accuracy):
            _accuracy(chosen, console)
        else:
            _export(chosen, console)
    except (ValueError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return _USER_ERROR
    return 0


if __name__ == "__main__":
    sys.exit(main())
