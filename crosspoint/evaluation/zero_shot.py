"""Zero-shot classification: how well class names alone tell pictures and clouds of objects apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from crosspoint.config.evaluate import ZeroShot
from crosspoint.data.augment.image_views import ImageViews, plain_images
from crosspoint.data.datasets.paired import LabelledDataset
from crosspoint.data.labelled import axis_shift
from crosspoint.data.pairs import pair_datasets
from crosspoint.data.sample import Sample, collate
from crosspoint.evaluation.aligned_models import aligned_model
from crosspoint.evaluation.encoders import evaluation_device
from crosspoint.evaluation.extraction import progress_bar
from crosspoint.evaluation.figures import write_confusion
from crosspoint.evaluation.metrics import confusion
from crosspoint.evaluation.results import entry_name, percent, results_folder, write_results
from crosspoint.models.aligned import AlignedModel
from crosspoint.models.prompts import TEMPLATES

NAME = "zero-shot"
_BATCH = 32
_TOP = 5


class Probabilities(NamedTuple):
    """What a model makes of M objects of K classes, pictured V times each."""

    labels: NDArray[np.int64]
    """(M,) the true classes."""
    views: NDArray[np.float32]
    """(M, V, K) softmax of the image branch on each view."""
    cloud: NDArray[np.float32]
    """(M, K) softmax of the cloud branch."""

    @property
    def image(self) -> NDArray[np.float32]:
        """(M, K) mean over the views."""
        return cast(NDArray[np.float32], self.views.mean(axis=1))

    @property
    def joint(self) -> NDArray[np.float32]:
        """(M, K) mean of the two branches, each counting alike however many views there are."""
        return cast(NDArray[np.float32], np.mean([self.image, self.cloud], axis=0, dtype=np.float32))


@torch.no_grad()
def probabilities(
    model: AlignedModel,
    dataset: LabelledDataset,
    device: torch.device,
    *,
    shift: int = 0,
    batch_size: int = _BATCH,
    advance: Callable[[int], object] = lambda count: None,
) -> Probabilities:
    """Asks both branches about all objects, in eval mode; the model's mode is restored.

    Deterministic: groups start at the first point, and all views are seen.

    Args:
        model: On the device, with a classifier.
        dataset: Items with points, views (V, 3, H, W) and labels; objects without a label are left out.
        device: Where to compute.
        shift: Positions that coordinates are rolled by, so that clouds stand as the model knows them.
        batch_size: Objects at once.
        advance: Told how many objects were done.

    Raises:
        ValueError: If there is no labelled object, or items have no views.
    """
    labels = np.asarray(dataset.labels, dtype=np.int64)
    known = np.flatnonzero(labels >= 0)
    if not len(known):
        raise ValueError(f"there must be at least 1 object with a label to test on, got {len(labels)} without")
    training, parameters = (
        model.training,
        ImageViews(size=model.image.image_size, mean=model.image.mean, std=model.image.std),
    )
    model.eval()
    by_view: list[Tensor] = []
    by_cloud: list[Tensor] = []
    try:
        batches = DataLoader(cast(Dataset[Sample], dataset), batch_size, sampler=known.tolist(), collate_fn=collate)
        for batch in batches:
            if "views" not in batch:
                raise ValueError("objects to test on must have views, got some without")
            count, views = batch["views"].shape[:2]
            images = plain_images(batch["views"].flatten(0, 1).to(device), parameters)
            logits = model.logits(model.image(images).feature)
            by_view.append(logits.softmax(dim=1).view(count, views, -1).float().cpu())
            groups = model.cloud.group(batch["points"].roll(shift, dims=-1).to(device))
            by_cloud.append(model.logits(model.cloud(groups).feature).softmax(dim=1).float().cpu())
            advance(count)
    finally:
        model.train(training)
    return Probabilities(labels[known], torch.cat(by_view).numpy(), torch.cat(by_cloud).numpy())


def scores(found: Probabilities) -> dict[str, Any]:
    """Accuracies, each 0 to 1.

    Returns:
        For ``image`` (mean over the views), ``cloud`` and ``joint`` their ``top1``, ``top5`` (where there are more than
        5 classes) and ``confusion`` (row the true class); ``image_one_view`` is the ``top1`` to be expected of one
        view drawn at random, which the official code reports.
    """
    labels = found.labels
    result: dict[str, Any] = {"image_one_view": {"top1": float(np.mean(found.views.argmax(axis=2) == labels[:, None]))}}
    for name in ("image", "cloud", "joint"):
        values: NDArray[np.float32] = getattr(found, name)
        classes = values.shape[1]
        predicted = values.argmax(axis=1)
        result[name] = {"top1": float(np.mean(predicted == labels))}
        if classes > _TOP:
            best = np.argsort(-values, axis=1, kind="stable")[:, :_TOP]
            result[name]["top5"] = float(np.mean((best == labels[:, None]).any(axis=1)))
        result[name]["confusion"] = confusion(predicted, labels, classes).tolist()
    return result


def evaluate(task: ZeroShot, console: Console) -> None:
    """Runs the task: results, a confusion matrix for each branch and for both, and a table.

    Raises:
        OSError, ValueError: If model, data or folder are not usable.
    """
    folder, device = results_folder(task), evaluation_device(task)
    assert task.checkpoint is not None  # the configuration checks it
    model, origin = aligned_model(
        task.checkpoint, clip=task.clip, dvae=task.dvae, groups=task.groups, group_size=task.group_size
    )
    pairs = pair_datasets(task.data, task.seed, model.class_names if model.text is None else None)
    names, test = pairs.class_names, pairs.test
    if test is None:
        raise ValueError(f"data must have objects to test on, got none in {task.data.dataset}")
    if model.text is not None:
        model.set_classes(names, TEMPLATES[task.templates])
    model.to(device)
    with progress_bar(console) as progress:
        bar = progress.add_task("objects", total=len(test))
        found = probabilities(
            model,
            test,
            device,
            shift=axis_shift(test.up_axis, task.up_axis),
            advance=lambda count: progress.advance(bar, count),
        )
    results = scores(found)
    figures = _figures(folder, task, results, names)
    content = {
        "model": origin,
        "objects": len(found.labels),
        "views": found.views.shape[1],
        "classes": list(names),
        "scores": results,
        "figures": figures,
    }
    path = write_results(folder, NAME, task, device, content)
    console.print(origin, soft_wrap=True, highlight=False)
    console.print(_table(task, results, found, names))
    console.print(f"results and figures: {path.parent}")


def _figures(folder: Path, task: ZeroShot, results: dict[str, Any], names: Sequence[str]) -> dict[str, str]:
    figures = {}
    for branch in ("image", "cloud", "joint"):
        path = folder / f"{NAME}-{entry_name(task)}-{branch}.png"
        counts = np.asarray(results[branch]["confusion"], dtype=np.int64)
        title = f"zero-shot, {branch}: {percent(results[branch]['top1'])} of {task.data.dataset}"
        figures[branch] = write_confusion(path, counts, names, title=title).name
    return figures


def _table(task: ZeroShot, results: dict[str, Any], found: Probabilities, names: Sequence[str]) -> Table:
    objects, views = found.views.shape[:2]
    table = Table(title=f"zero-shot: {objects} objects of {len(names)} classes of {task.data.dataset}")
    table.add_column("branch")
    table.add_column("top-1", justify="right")
    table.add_column("top-5", justify="right")
    labels = {
        "image_one_view": "image, one view",
        "image": f"image, mean of {views} views",
        "cloud": "cloud",
        "joint": "joint: mean of image and cloud",
    }
    for key, label in labels.items():
        top5 = results[key].get("top5")
        table.add_row(label, percent(results[key]["top1"]), "" if top5 is None else percent(top5))
    table.add_row("chance", percent(1 / len(names)), "")
    return table
