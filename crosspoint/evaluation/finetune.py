"""Fine-tuning for classification: all weights trained, from pre-trained ones against from random ones."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.utils.data import DataLoader

from crosspoint.config.evaluate import Finetune, settings
from crosspoint.data.labelled import axis_shift
from crosspoint.data.sample import Batch, Sample, collate
from crosspoint.evaluation.datasets import Chosen, classified_splits, share_of_each_class
from crosspoint.evaluation.encoders import Contender, contenders, evaluation_device
from crosspoint.evaluation.metrics import accuracy
from crosspoint.evaluation.results import percent, results_folder, write_results
from crosspoint.evaluation.supervised import SupervisedRun, train_supervised
from crosspoint.models.classifier import Classifier
from crosspoint.models.encoder import CloudEncoder

NAME = "finetune"
_BATCH = 32


def evaluate(task: Finetune, console: Console) -> None:
    """Runs the task: results and a table. Trainings that an earlier try has finished are not repeated.

    Raises:
        Interrupted: After a signal; the same command continues.
        OSError, ValueError, FloatingPointError: If checkpoint, data or folder are not usable or a loss diverges.
    """
    folder, device = results_folder(task), evaluation_device(task)
    train, test = classified_splits(task.data, draw=True)
    encoders = contenders(task)
    scores: dict[str, dict[str, Any]] = {one.key: {} for one in encoders}
    for share in sorted(task.fractions):
        labelled = train.some(share_of_each_class(train.labels, share, task.seed))
        for one in encoders:
            scores[one.key][f"{share:g}"] = {
                "labelled_clouds": len(labelled),
                **_train_and_test(one, labelled, test, task, share, folder, device, console),
            }
    content = {
        "test_clouds": len(test),
        "selected_on": "the test split" if task.protocol == "official" else None,
        "encoders": {one.key: {**one.summary, "fractions": scores[one.key]} for one in encoders},
    }
    path = write_results(folder, NAME, task, device, content)
    console.print(_table(task, encoders, scores, len(test)))
    if task.protocol == "official":
        console.print("official protocol: the epoch that does best ON THE TEST SPLIT, so an upper bound")
    console.print(f"results: {path}")


def _train_and_test(
    one: Contender,
    labelled: Chosen,
    test: Chosen,
    task: Finetune,
    share: float,
    folder: Path,
    device: torch.device,
    console: Console,
) -> dict[str, Any]:
    torch.manual_seed(task.seed)  # the head starts alike for every encoder
    encoder = cast(CloudEncoder, copy.deepcopy(one.encoder))
    network = Classifier(encoder, len(test.class_names), dropout=task.training.dropout).to(device)
    shift = axis_shift(test.up_axis, one.up_axis)

    def outputs(module: nn.Module, batch: Batch, points: Tensor) -> tuple[Tensor, Tensor]:
        return module(points), batch["label"].to(device)

    def test_scores(module: nn.Module) -> dict[str, Any]:
        return {"accuracy": accuracy_of(module, test, device, shift)}

    run = SupervisedRun(
        network=network,
        dataset=labelled,
        outputs=outputs,
        settings=task.training,
        identity={"task": NAME, "data": settings(task.data), "share": share, "protocol": task.protocol},
        seed=task.seed,
        axis_shift=shift,
        folder=folder / NAME,
        label=f"{100 * share:g} % of labels, {one.label}",
        device=device,
    )
    official = task.protocol == "official"
    epochs = train_supervised(run, console, after_epoch=test_scores if official else None)
    scores = max(epochs, key=lambda epoch: float(epoch["accuracy"])) if official else test_scores(network)
    return {**scores, "steps": _steps(run)}


def _steps(run: SupervisedRun) -> int:
    batch = min(run.settings.batch_size, len(run.dataset))
    return len(run.dataset) // batch * run.settings.epochs


@torch.no_grad()
def accuracy_of(network: nn.Module, clouds: Chosen, device: torch.device, shift: int) -> float:
    """Share of clouds that a network in eval mode classifies rightly."""
    loader: DataLoader[Sample] = DataLoader(
        clouds.clouds, batch_size=_BATCH, collate_fn=collate, generator=torch.Generator()
    )
    predicted, true = [], []
    for batch in loader:
        predicted.append(network(batch["points"].roll(shift, dims=-1).to(device)).argmax(dim=1).cpu())
        true.append(batch["label"])
    return accuracy(torch.cat(predicted).numpy(), torch.cat(true).numpy())


def _table(task: Finetune, encoders: Sequence[Contender], scores: dict[str, dict[str, Any]], test: int) -> Table:
    table = Table(title=f"fine-tuned classification: accuracy on {test} test clouds of {task.data.dataset}")
    table.add_column("start")
    fractions = [f"{share:g}" for share in sorted(task.fractions)]
    for name in fractions:
        count = scores[encoders[0].key][name]["labelled_clouds"]
        table.add_column(f"{100 * float(name):g} % of labels ({count} clouds)", justify="right")
    for one in encoders:
        table.add_row(one.label, *(percent(scores[one.key][name]["accuracy"]) for name in fractions))
    return table
