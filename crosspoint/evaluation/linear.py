"""Linear evaluation: a linear SVM on the features of frozen encoders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from crosspoint.config.evaluate import Linear
from crosspoint.evaluation.datasets import classified_splits
from crosspoint.evaluation.encoders import Contender, contenders, evaluation_device
from crosspoint.evaluation.extraction import split_features
from crosspoint.evaluation.features import Features
from crosspoint.evaluation.figures import write_confusion, write_embedding
from crosspoint.evaluation.metrics import accuracy, confusion
from crosspoint.evaluation.results import entry_name, percent, results_folder, write_results
from crosspoint.evaluation.svm import LinearSvms, choose_c

NAME = "linear"


def evaluate(task: Linear, console: Console) -> None:
    """Runs the task: results, a figure of features and one of confusions, a table.

    Raises:
        OSError, ValueError: If checkpoint, data or folder are not usable.
    """
    folder, device = results_folder(task), evaluation_device(task)
    train, test = classified_splits(task.data)
    encoders = contenders(task, both=True)
    extracted: dict[str, tuple[Features, Features]] = {}
    for one in encoders:
        fitted, held_out = split_features(one, (train, test), device, console)
        extracted[one.key] = fitted, held_out
    with console.status("linear SVM"):
        scores = {one.key: linear_scores(*extracted[one.key], task) for one in encoders}
    shown = encoders[-1] if task.weights == "best" or len(encoders) == 1 else encoders[1]
    held_out, result = extracted[shown.key][1], scores[shown.key]
    predicted = result.pop("predicted")
    for other in scores.values():
        other.pop("predicted", None)
    title = f"{entry_name(task)}, {shown.label}: SVM {percent(result['accuracy'])}"
    pictures = {
        "embedding": write_embedding(
            folder / f"{NAME}-{entry_name(task)}-embedding.png", held_out, test.class_names, title=title
        ),
        "confusion": write_confusion(
            folder / f"{NAME}-{entry_name(task)}-confusion.png",
            confusion(predicted, held_out.labels, len(test.class_names)),
            test.class_names,
            title=title,
        ),
    }
    content: dict[str, Any] = {
        "train_clouds": len(train),
        "test_clouds": len(test),
        "encoders": {one.key: {**one.summary, **scores[one.key]} for one in encoders},
        "figures": {name: path.name for name, path in pictures.items()},
    }
    if task.protocol == "official":
        content["official"] = {
            "selected_on": "the test split",
            "accuracy": max(
                value
                for one in encoders[-2:]
                if one.key != "random" or len(encoders) == 1
                for value in scores[one.key]["by_c"].values()
            ),
        }
    path = write_results(folder, NAME, task, device, content)
    console.print(_table(task, encoders, scores, len(train), len(test)))
    if task.protocol == "official":
        console.print(
            f"official protocol: {percent(content['official']['accuracy'])}, the best of all C and checkpoints ON THE "
            "TEST SPLIT, so an upper bound rather than an estimate"
        )
    console.print(f"results and figures: {path.parent}")


def linear_scores(train: Features, test: Features, task: Linear) -> dict[str, Any]:
    """Accuracy with C chosen on held-back training clouds, and with every fixed C.

    Args:
        train: Features to fit on and to choose C on.
        test: Features to score on.
        task: The values of C.

    Returns:
        ``accuracy``, ``c`` (the chosen one), ``held_back_accuracy``, ``by_c`` (a dictionary from C, as text, to the
        accuracy) and ``predicted`` (the classes of the test clouds at the chosen C).
    """
    choice = choose_c(train, task.choices)
    wanted = sorted({choice.c, *task.fixed, *(task.choices if task.protocol == "official" else ())})
    predictions = LinearSvms(train, wanted).predict(test)
    by_c = {f"{value:g}": accuracy(predicted, test.labels) for value, predicted in predictions.items()}
    return {
        "accuracy": by_c[f"{choice.c:g}"],
        "c": choice.c,
        "held_back_accuracy": choice.accuracy,
        "by_c": by_c,
        "predicted": predictions[choice.c],
    }


def _table(
    task: Linear, encoders: Sequence[Contender], scores: dict[str, dict[str, Any]], train: int, test: int
) -> Table:
    table = Table(title=f"linear SVM: accuracy on {test} test clouds of {task.data.dataset}, fitted on {train}")
    table.add_column("encoder")
    table.add_column("C chosen on held-back training clouds", justify="right")
    for value in task.fixed:
        table.add_column(f"C = {value:g}", justify="right")
    for one in encoders:
        score = scores[one.key]
        fixed = (percent(score["by_c"][f"{value:g}"]) for value in task.fixed)
        table.add_row(one.label, f"{percent(score['accuracy'])} (C = {score['c']:g})", *fixed)
    return table
