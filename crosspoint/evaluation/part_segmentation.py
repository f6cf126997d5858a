"""Part segmentation: all weights trained, from pre-trained ones against from random ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from crosspoint.config.evaluate import PartSeg, settings
from crosspoint.data.labelled import axis_shift
from crosspoint.data.sample import Batch, Sample, collate
from crosspoint.evaluation.datasets import PartDataset, part_splits
from crosspoint.evaluation.encoders import Contender, contenders, evaluation_device
from crosspoint.evaluation.figures import write_segmentation
from crosspoint.evaluation.metrics import PartScores, part_scores
from crosspoint.evaluation.results import entry_name, percent, results_folder, write_results
from crosspoint.evaluation.supervised import SupervisedRun, train_supervised
from crosspoint.models.dgcnn_seg import DGCNNSeg
from crosspoint.models.segmentation import PartSegmenter

NAME = "part-seg"
_SHOWN = 5  # objects in the picture


def evaluate(task: PartSeg, console: Console) -> None:
    """Runs the task: results, a picture and tables. Trainings that an earlier try has finished are not repeated.

    Raises:
        Interrupted: After a signal; the same command continues.
        OSError, ValueError, FloatingPointError: If checkpoint, data or folder are not usable, the encoder is none for
            segmentation, or a loss diverges.
    """
    folder, device = results_folder(task), evaluation_device(task)
    encoders = contenders(task)
    for one in encoders:
        if not isinstance(one.encoder, DGCNNSeg):
            raise ValueError(
                f"part segmentation needs the encoder dgcnn_seg (--model.encoder dgcnn_seg, in the pre-training too), "
                f"got {type(one.encoder).__name__}"
            )
    train, test = part_splits(task.data)
    scores: dict[str, PartScores] = {}
    predictions: dict[str, list[NDArray[np.int64]]] = {}
    for one in encoders:
        scores[one.key], predictions[one.key] = _train_and_test(one, train, test, task, folder, device, console)
    content = {
        "train_clouds": len(train),
        "test_clouds": len(test),
        "selected_on": "the test split" if task.protocol == "official" else None,
        "encoders": {
            one.key: {
                **one.summary,
                "instance_miou": scores[one.key].instance,
                "category_miou": scores[one.key].category,
                "categories": {test.class_names[label]: value for label, value in scores[one.key].categories.items()},
            }
            for one in encoders
        },
        "figures": {"segmentation": _picture(folder, task, test, encoders, predictions).name},
    }
    path = write_results(folder, NAME, task, device, content)
    console.print(_table(task, encoders, scores, test))
    if task.protocol == "official":
        console.print("official protocol: the epoch that does best ON THE TEST SPLIT, so an upper bound")
    console.print(f"results and figure: {path.parent}")


def _train_and_test(
    one: Contender,
    train: PartDataset,
    test: PartDataset,
    task: PartSeg,
    folder: Path,
    device: torch.device,
    console: Console,
) -> tuple[PartScores, list[NDArray[np.int64]]]:
    torch.manual_seed(task.seed)  # the head starts alike for every encoder
    network, transfer = PartSegmenter.from_pretrained_encoder(
        cast(DGCNNSeg, one.encoder),
        len(test.class_names),
        len(test.part_names),
        k=cast(DGCNNSeg, one.encoder).k,
        dropout=task.training.dropout,
    )
    if not transfer.complete:
        raise ValueError(f"the encoder of {one.label} must fit part segmentation, got: {transfer}")
    network.to(device)
    shift = axis_shift(test.up_axis, one.up_axis)
    official = task.protocol == "official"

    def outputs(module: nn.Module, batch: Batch, points: Tensor) -> tuple[Tensor, Tensor]:
        logits = module(points, batch["label"].to(device))
        return logits.flatten(0, 1), batch["parts"].to(device).flatten()

    def predict(module: nn.Module) -> tuple[PartScores, list[NDArray[np.int64]]]:
        return segment(module, test, device, shift=shift, among_all=official, batch_size=task.training.batch_size)

    run = SupervisedRun(
        network=network,
        dataset=train,
        outputs=outputs,
        settings=task.training,
        identity={"task": NAME, "data": settings(task.data), "protocol": task.protocol},
        seed=task.seed,
        axis_shift=shift,
        folder=folder / NAME,
        label=f"parts, {one.label}",
        device=device,
    )

    def test_scores(module: nn.Module) -> dict[str, Any]:
        return dataclasses.asdict(predict(module)[0])

    epochs = train_supervised(run, console, after_epoch=test_scores if official else None)
    scores, predicted = predict(network)
    if official:
        scores = PartScores(**max(epochs, key=lambda epoch: float(epoch["instance"])))
    return scores, predicted


@torch.no_grad()
def segment(
    network: nn.Module,
    test: PartDataset,
    device: torch.device,
    *,
    shift: int,
    among_all: bool,
    batch_size: int,
) -> tuple[PartScores, list[NDArray[np.int64]]]:
    """Predicts the parts of every cloud with a network in eval mode.

    Args:
        network: Maps points (B, N, 3) and categories (B,) to logits (B, N, parts).
        test: The clouds.
        device: Where to compute.
        shift: By how much to roll the coordinates first.
        among_all: Whether any part may be predicted, instead of those of the cloud's category alone.
        batch_size: Clouds at once.

    Returns:
        The scores, and the part ids of each cloud's points.
    """
    allowed = torch.zeros(len(test.class_names), len(test.part_names), dtype=torch.bool, device=device)
    for label, parts in enumerate(test.parts_of_class):
        allowed[label, list(parts)] = True
    loader: DataLoader[Sample] = DataLoader(
        cast(Dataset[Sample], test), batch_size=batch_size, collate_fn=collate, generator=torch.Generator()
    )
    predicted: list[NDArray[np.int64]] = []
    true: list[NDArray[np.int64]] = []
    labels: list[int] = []
    for batch in loader:
        category = batch["label"].to(device)
        logits = network(batch["points"].roll(shift, dims=-1).to(device), category)
        if not among_all:
            logits = logits.masked_fill(~allowed[category].unsqueeze(1), -torch.inf)
        predicted.extend(logits.argmax(dim=2).cpu().numpy())
        true.extend(batch["parts"].numpy())
        labels.extend(batch["label"].tolist())
    return part_scores(predicted, true, labels, test.parts_of_class), predicted


def _picture(
    folder: Path,
    task: PartSeg,
    test: PartDataset,
    encoders: Sequence[Contender],
    predictions: dict[str, list[NDArray[np.int64]]],
) -> Path:
    """Objects drawn at random, so that good and bad ones are shown as they come."""
    chosen = np.random.default_rng([task.seed, 5]).permutation(len(test))[:_SHOWN].tolist()
    samples = [test[index] for index in chosen]
    categories = [int(sample["label"]) for sample in samples]

    def within(index: int, parts: NDArray[np.int64]) -> NDArray[np.int64]:
        """Numbers of parts within their category; what is not of it comes after."""
        own = {part: number for number, part in enumerate(test.parts_of_class[categories[index]])}
        return np.array([own.get(int(part), len(own)) for part in parts], dtype=np.int64)

    rows = {"truth": [within(index, sample["parts"].numpy()) for index, sample in enumerate(samples)]}
    for one in encoders:
        short = "random start" if one.key == "random" else "pre-trained"
        rows[short] = [within(index, predictions[one.key][number]) for index, number in enumerate(chosen)]
    return write_segmentation(
        folder / f"{NAME}-{entry_name(task)}.png",
        [sample["points"].numpy() for sample in samples],
        rows,
        [test.class_names[category] for category in categories],
        up_axis=test.up_axis,
    )


def _table(task: PartSeg, encoders: Sequence[Contender], scores: dict[str, PartScores], test: PartDataset) -> Table:
    table = Table(title=f"part segmentation: mean IoU on {len(test)} test clouds of {task.data.dataset}")
    table.add_column("")
    for one in encoders:
        table.add_column(one.label, justify="right")
    table.add_row("mean of instances", *(percent(scores[one.key].instance) for one in encoders))
    table.add_row("mean of categories", *(percent(scores[one.key].category) for one in encoders), end_section=True)
    for label in scores[encoders[0].key].categories:
        table.add_row(test.class_names[label], *(percent(scores[one.key].categories[label]) for one in encoders))
    return table
