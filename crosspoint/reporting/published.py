"""Published results, to stand beside measured ones. None of these numbers was measured by this project."""

from __future__ import annotations

from dataclasses import dataclass

PAPER = "CrossPoint paper (CVPR 2022)"
"""The source of the paper's own numbers."""
_SECOND_HAND = "table of PoCCA, a later paper"


@dataclass(frozen=True)
class Published:
    """A number from elsewhere."""

    task: str
    """The task, as on the command line."""
    dataset: str
    """The dataset, as on the command line."""
    method: str
    """Method and encoder."""
    measure: str
    """What the number is."""
    value: float
    """Percent."""
    source: str
    """Who says so."""


PUBLISHED: tuple[Published, ...] = (
    Published("linear", "modelnet40", "CrossPoint, DGCNN", "accuracy", 91.2, PAPER),
    Published("linear", "modelnet40", "CrossPoint, PointNet", "accuracy", 89.1, PAPER),
    Published("linear", "modelnet40", "CrossPoint, DGCNN", "accuracy", 90.27, "users' runs of the official code"),
    Published("linear", "modelnet40", "STRL, DGCNN", "accuracy", 90.9, _SECOND_HAND),
    Published("linear", "modelnet40", "Rotation, DGCNN", "accuracy", 90.8, _SECOND_HAND),
    Published("linear", "modelnet40", "Jigsaw, DGCNN", "accuracy", 90.6, _SECOND_HAND),
    Published("linear", "modelnet40", "OcCo, DGCNN", "accuracy", 89.2, _SECOND_HAND),
    Published("linear", "modelnet40", "OcCo, PointNet", "accuracy", 88.7, _SECOND_HAND),
    Published("linear", "modelnet40", "STRL, PointNet", "accuracy", 88.3, _SECOND_HAND),
    Published("linear", "modelnet40", "Jigsaw, PointNet", "accuracy", 87.3, _SECOND_HAND),
    Published("linear", "scanobjectnn", "CrossPoint, DGCNN", "accuracy", 81.7, PAPER),
    Published("linear", "scanobjectnn", "CrossPoint, PointNet", "accuracy", 75.6, PAPER),
    Published(
        "linear", "scanobjectnn", "CrossPoint, DGCNN", "accuracy", 81.24, "notebook of the official code, C = 0.01"
    ),
    Published("linear", "scanobjectnn", "OcCo, DGCNN", "accuracy", 78.3, _SECOND_HAND),
    Published("linear", "scanobjectnn", "STRL, DGCNN", "accuracy", 77.9, _SECOND_HAND),
    Published("linear", "scanobjectnn", "Jigsaw, DGCNN", "accuracy", 59.5, _SECOND_HAND),
    Published("linear", "scanobjectnn", "STRL, PointNet", "accuracy", 74.2, _SECOND_HAND),
    Published("linear", "scanobjectnn", "OcCo, PointNet", "accuracy", 69.5, _SECOND_HAND),
    Published("linear", "scanobjectnn", "Jigsaw, PointNet", "accuracy", 55.2, _SECOND_HAND),
    Published("few-shot", "modelnet40", "CrossPoint, DGCNN", "5-way 10-shot", 92.5, PAPER),
    Published("few-shot", "modelnet40", "CrossPoint, DGCNN", "best of the four settings", 94.9, PAPER),
    Published("few-shot", "scanobjectnn", "CrossPoint, DGCNN", "best of the four settings", 79.0, PAPER),
    Published("part-seg", "shapenet_part", "CrossPoint, DGCNN", "mean IoU of instances", 85.5, PAPER),
)
"""CrossPoint's numbers and those that its papers compare with."""


def published(task: str, dataset: str) -> list[Published]:
    """The published numbers of a task on a dataset; none for protocols of our own."""
    return [number for number in PUBLISHED if (number.task, number.dataset) == (task, dataset)]
