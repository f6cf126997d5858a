"""Cross-modal retrieval: an image finds its cloud, and a cloud its image, in the space of the projection heads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from crosspoint.config.evaluate import Retrieval
from crosspoint.config.evaluated_data import PairedData
from crosspoint.data.augment.images import ImageAugmentation, prepare_images
from crosspoint.data.labelled import axis_shift
from crosspoint.data.rendering.render import random_views, render
from crosspoint.data.sample import Sample, UpAxis, collate
from crosspoint.evaluation.datasets import paired_objects
from crosspoint.evaluation.encoders import Contender, contenders, evaluation_device
from crosspoint.evaluation.extraction import progress_bar
from crosspoint.evaluation.figures import write_retrieval
from crosspoint.evaluation.metrics import ranks, recall_at
from crosspoint.evaluation.results import entry_name, percent, results_folder, write_results
from crosspoint.models.crosspoint import CrossPoint

NAME = "retrieval"
_BATCH = 32
_HITS = 5  # shown of each query
_DIRECTIONS = ("image to cloud", "cloud to image")


class Gallery(NamedTuple):
    """The objects: (M, N, 3) clouds, (M, 3, H, W) uint8 pictures, and the clouds' vertical axis."""

    clouds: Tensor
    images: Tensor
    up_axis: UpAxis


def evaluate(task: Retrieval, console: Console) -> None:
    """Runs the task: results, a picture of hits and a table.

    Raises:
        OSError, ValueError: If checkpoint, data or folder are not usable, or the checkpoint has no image encoder.
    """
    folder, device = results_folder(task), evaluation_device(task)
    encoders = contenders(task)
    for one in encoders:
        if one.network is None:
            raise ValueError(
                f"retrieval needs a checkpoint of CrossPoint with image encoder and heads, got an encoder alone in "
                f"{task.checkpoint}"
            )
    flat = encoders[-1].pretraining
    num_points = task.data.num_points or int(flat.get("data.num_points", 1024))
    size = int(flat.get("data.image_size", 128))
    gallery = _gallery(
        paired_objects(task.data, num_points, size), task.data, size, str(flat.get("data.view_mode", "shaded")), console
    )
    similarities = {one.key: _similarity(one, gallery, size, device, console) for one in encoders}
    scores = {key: recalls(similarity, task.k) for key, similarity in similarities.items()}
    figure = _picture(folder, task, gallery, similarities[encoders[-1].key])
    seen = flat.get("data.dataset") == task.data.dataset and task.data.dataset == "shapenet_render"
    objects = len(gallery.clouds)
    chance = {str(k): min(1.0, k / objects) for k in task.k}
    content = {
        "objects": objects,
        "seen_in_pretraining": seen,
        "chance": chance,
        "encoders": {one.key: {**one.summary, **scores[one.key]} for one in encoders},
        "figures": {"retrieval": figure.name},
    }
    path = write_results(folder, NAME, task, device, content)
    console.print(_table(task, encoders, scores, objects, chance))
    if seen:
        console.print("these objects were pre-trained on: the numbers do not say how unseen objects fare")
    console.print(f"results and figure: {path.parent}")


def recalls(similarity: NDArray[Any], k: Sequence[int]) -> dict[str, dict[str, float]]:
    """Recall at each k in both directions.

    Args:
        similarity: (M, M), image by cloud, of the same objects in the same order.
        k: Ranks that count as a hit.

    Returns:
        ``{"image to cloud": {"1": 0.5, ...}, "cloud to image": {...}}``.
    """
    found = (ranks(similarity), ranks(similarity.T))
    return {
        direction: {str(value): recall_at(rank, value) for value in k}
        for direction, rank in zip(_DIRECTIONS, found, strict=True)
    }


def _gallery(objects: Dataset[Sample], data: PairedData, size: int, mode: str, console: Console) -> Gallery:
    """Reads the objects, and renders a view of each where the dataset has no images."""
    loader: DataLoader[Sample] = DataLoader(objects, batch_size=_BATCH, collate_fn=collate)
    generator = torch.Generator().manual_seed(data.seed)
    clouds, images = [], []
    with progress_bar(console) as progress:
        bar = progress.add_task("objects and views", total=data.objects)
        for batch in loader:
            points: Tensor = batch["points"]
            clouds.append(points)
            if "image" in batch:
                images.append(batch["image"])
            else:
                azimuth, elevation = random_views(len(points), generator)
                views = render(
                    points,
                    batch.get("normals"),
                    azimuth=azimuth,
                    elevation=elevation,
                    size=size,
                    mode="depth" if mode == "depth" else "shaded",
                    up_axis=data.up_axis,
                )
                images.append((255 * views).round().to(torch.uint8))
            progress.advance(bar, len(points))
    return Gallery(torch.cat(clouds), torch.cat(images), data.up_axis)


@torch.no_grad()
def _similarity(
    one: Contender, gallery: Gallery, size: int, device: torch.device, console: Console
) -> NDArray[np.float32]:
    """(M, M) cosines between the projections of images (rows) and clouds (columns), in eval mode."""
    network = cast(CrossPoint, one.network).to(device).eval()
    turned = gallery.clouds.roll(axis_shift(gallery.up_axis, one.up_axis), dims=-1)
    parameters = ImageAugmentation(size=size)
    clouds, images = [], []
    with progress_bar(console) as progress:
        bar = progress.add_task(f"projections: {one.label}", total=len(turned))
        for points, pictures in zip(torch.split(turned, _BATCH), torch.split(gallery.images, _BATCH), strict=True):
            clouds.append(network.cloud_head(network.cloud_encoder(points.to(device))).cpu())
            images.append(
                network.image_head(network.image_encoder(prepare_images(pictures.to(device), parameters))).cpu()
            )
            progress.advance(bar, len(points))
    similarity = functional.normalize(torch.cat(images), dim=1) @ functional.normalize(torch.cat(clouds), dim=1).T
    return cast(NDArray[np.float32], similarity.float().numpy())


def _picture(folder: Any, task: Retrieval, gallery: Gallery, similarity: NDArray[np.float32]) -> Any:
    """Hits of queries drawn at random, so that good and bad ones are shown as they come."""
    queries = np.random.default_rng([task.seed, 3]).permutation(len(similarity))[: task.shown].tolist()
    hits = min(_HITS, len(similarity))

    def nearest(matrix: NDArray[np.float32]) -> list[tuple[int, list[int]]]:
        return [(query, np.argsort(-matrix[query], kind="stable")[:hits].tolist()) for query in queries]

    return write_retrieval(
        folder / f"{NAME}-{entry_name(task)}.png",
        gallery.images.permute(0, 2, 3, 1).numpy(),
        list(gallery.clouds.numpy()),
        nearest(similarity),
        nearest(similarity.T),
        up_axis=gallery.up_axis,
    )


def _table(
    task: Retrieval, encoders: Sequence[Contender], scores: dict[str, Any], objects: int, chance: dict[str, float]
) -> Table:
    table = Table(title=f"retrieval among {objects} objects of {task.data.dataset}: recall at k")
    table.add_column("direction")
    table.add_column("network")
    for k in task.k:
        table.add_column(f"recall@{k}", justify="right")
    for direction in _DIRECTIONS:
        for one in encoders:
            table.add_row(direction, one.label, *(percent(scores[one.key][direction][str(k)]) for k in task.k))
    table.add_row("either", "chance", *(percent(value) for value in chance.values()))
    return table
