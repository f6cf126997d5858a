"""Features of whole splits, with a progress bar."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from crosspoint.data.labelled import axis_shift
from crosspoint.evaluation.datasets import Chosen
from crosspoint.evaluation.encoders import Contender
from crosspoint.evaluation.features import Features, extract_features


def progress_bar(console: Console) -> Progress:
    """A bar that counts clouds; draws nothing where there is no terminal."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )


def split_features(
    contender: Contender, splits: Sequence[Chosen], device: torch.device, console: Console
) -> list[Features]:
    """Features of some splits, clouds turned to stand as the encoder knows them."""
    encoder = contender.encoder.to(device)
    with progress_bar(console) as progress:
        bar = progress.add_task(f"features: {contender.label}", total=sum(map(len, splits)))
        return [
            extract_features(
                encoder,
                split.clouds,
                device,
                axis_shift=axis_shift(split.up_axis, contender.up_axis),
                advance=lambda count: progress.advance(bar, count),
            )
            for split in splits
        ]


def changed_features(
    contender: Contender,
    split: Chosen,
    device: torch.device,
    changes: Sequence[Callable[[Tensor], Tensor]],
    console: Console,
    *,
    what: str,
) -> list[Features]:
    """Features of one split under each of several changes of its clouds; ``what`` names them in the progress bar."""
    encoder = contender.encoder.to(device)
    shift = axis_shift(split.up_axis, contender.up_axis)
    with progress_bar(console) as progress:
        bar = progress.add_task(f"{what}: {contender.label}", total=len(split) * len(changes))
        return [
            extract_features(
                encoder,
                split.clouds,
                device,
                axis_shift=shift,
                change=change,
                advance=lambda count: progress.advance(bar, count),
            )
            for change in changes
        ]
