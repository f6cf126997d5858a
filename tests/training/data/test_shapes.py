"""The procedural corpus."""

import itertools
import math
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.svm import SVC
from torch import Tensor

from crosspoint.data import PoseVariation, Sample, Shapes, collate
from crosspoint.data.keys import random_stream
from crosspoint.data.shapes.builder import Builder
from crosspoint.data.shapes.catalogue import CLASSES
from crosspoint.data.shapes.primitives import flat


def _equal(first: Sample, second: Sample) -> bool:
    return sorted(first) == sorted(second) and all(torch.equal(first[key], second[key]) for key in first)  # type: ignore[literal-required]


def test_catalogue() -> None:
    dataset = Shapes(per_class=3)
    assert len(dataset.class_names) >= 16
    assert len(set(dataset.class_names)) == len(dataset.class_names)
    assert len(set(dataset.part_names)) == len(dataset.part_names)
    assert len(dataset) == 3 * len(dataset.class_names)
    assert list(itertools.chain(*dataset.parts_of_class)) == list(range(len(dataset.part_names)))
    for name, parts in zip(dataset.class_names, dataset.parts_of_class, strict=True):
        assert len(parts) >= 2
        assert all(dataset.part_names[part].startswith(f"{name} ") for part in parts)


@pytest.mark.parametrize("label", range(len(CLASSES)), ids=[shape.name for shape in CLASSES])
def test_objects_of_a_class(label: int) -> None:
    dataset = Shapes(per_class=60, num_points=256)
    seen: set[int] = set()
    clouds = []
    for number in range(60):
        sample = dataset[number * len(CLASSES) + label]
        points, normals, parts = sample["points"], sample["normals"], sample["parts"]
        assert int(sample["label"]) == label
        assert points.shape == normals.shape == (256, 3)
        assert points.dtype == normals.dtype == torch.float32
        assert parts.shape == (256,)
        assert parts.dtype == sample["label"].dtype == torch.int64
        assert points.isfinite().all()
        assert torch.allclose(points.mean(dim=0), torch.zeros(3), atol=1e-5)
        assert points.norm(dim=1).max() == pytest.approx(1, abs=1e-5)
        assert torch.allclose(normals.norm(dim=1), torch.ones(256), atol=1e-5)
        assert set(parts.tolist()) <= set(dataset.parts_of_class[label])
        seen |= set(parts.tolist())
        clouds.append(points)
    assert seen == set(dataset.parts_of_class[label]), "every part of the class occurs in some object"
    spread = torch.stack([_up_profile(cloud) for cloud in clouds]).std(dim=0).mean()
    assert spread > 0.02, "objects of a class differ"


def _up_profile(points: Tensor) -> Tensor:
    """How the points are distributed along the up axis, whichever way the object is turned."""
    height = points[:, 1]
    return torch.histc(height, bins=8, min=-1, max=1) / len(points)


@pytest.mark.parametrize("shape", CLASSES, ids=[shape.name for shape in CLASSES])
def test_triangles_are_sound(shape: Any) -> None:
    for number in range(40):
        builder = Builder(random_stream(7, number), shape.parts)
        shape.build(builder)
        facets, parts = builder.surface()
        assert facets.corners.shape == facets.normals.shape == (len(parts), 3, 3)
        assert np.isfinite(facets.corners).all()
        assert np.isfinite(facets.normals).all()
        assert np.allclose(np.linalg.norm(facets.normals, axis=2), 1, atol=1e-6)
        front = np.cross(*(facets.corners[:, i] - facets.corners[:, 0] for i in (1, 2)))
        area = np.linalg.norm(front, axis=1)
        assert area.sum() > 0
        solid = area > 1e-9
        cosine = np.abs(np.einsum("fd,fcd->fc", front, facets.normals))[solid] / area[solid, None]
        assert cosine.min() > 0.2  # flat pillows are coarse


def test_items_follow_from_their_key_alone() -> None:
    forward, backward = Shapes(per_class=2, num_points=64), Shapes(per_class=2, num_points=64)
    keys = [(index, epoch) for index in (0, 5, 30, 47) for epoch in (0, 1, 7)]
    first = {key: forward[key] for key in keys}
    np.random.seed(3)  # noqa: NPY002
    torch.manual_seed(3)
    assert all(_equal(backward[key], first[key]) for key in reversed(keys))
    assert all(_equal(pickle.loads(pickle.dumps(forward))[key], first[key]) for key in keys[:3])
    assert _equal(forward[5], forward[5, 0])
    assert _equal(forward[-1], forward[47])


def test_global_generators_are_left_alone() -> None:
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[index, union-attr]  # noqa: NPY002
    Shapes(per_class=1)[3]
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])  # type: ignore[index]  # noqa: NPY002


def _part_sizes(sample: Sample) -> Tensor:
    """Points on each part, in proportion to its area: a fingerprint of the object that sampling hardly moves."""
    return sample["parts"].bincount(minlength=len(Shapes.part_names))


def _difference(first: Sample, second: Sample) -> int:
    return int((_part_sizes(first) - _part_sizes(second)).abs().max())


@pytest.mark.parametrize("name", ["airplane", "bed", "chair", "lamp", "tree"])
def test_epochs_draw_other_points_of_the_same_object(name: str) -> None:
    dataset = Shapes(per_class=2, num_points=1024)
    index = dataset.class_names.index(name)
    here, again, other = dataset[index], dataset[index, 1], dataset[index + len(CLASSES)]
    assert not torch.equal(here["points"], again["points"])
    assert _difference(here, again) <= 12
    assert _difference(here, other) > 12


def test_splits_seeds_and_numbers_are_different_draws() -> None:
    chair, count = Shapes.class_names.index("chair"), len(CLASSES)
    variants = [Shapes(split, seed=seed) for split in ("train", "test") for seed in (0, 1)]  # type: ignore[arg-type]
    chairs = [dataset[chair + number * count] for dataset in variants for number in range(3)]
    for first, second in itertools.combinations(chairs, 2):
        assert _difference(first, second) > 12


def test_a_larger_corpus_extends_a_smaller_one() -> None:
    small, large = Shapes(per_class=2, num_points=32), Shapes(per_class=5, num_points=32)
    assert all(_equal(small[index], large[index]) for index in range(0, len(small), 7))


def test_classes_alternate() -> None:
    dataset = Shapes(per_class=2, num_points=8)
    assert [int(dataset[index]["label"]) for index in range(len(dataset))] == 2 * list(range(len(CLASSES)))


def test_pose_variation_turns_and_stretches() -> None:
    still = Shapes(per_class=1, num_points=128, pose=PoseVariation(max_yaw=0.0, max_stretch=0.0))
    turned = Shapes(per_class=1, num_points=128, pose=PoseVariation(max_yaw=math.pi, max_stretch=0.0))
    for index in range(0, 24, 6):
        first, second = still[index]["points"].double(), turned[index]["points"].double()
        assert not torch.allclose(first, second, atol=1e-3)
        assert torch.allclose(first[:, 1], second[:, 1], atol=1e-5)
        assert torch.allclose(torch.cdist(first, first), torch.cdist(second, second), atol=1e-5)


def test_a_linear_classifier_on_random_features_is_far_from_perfect_and_from_chance() -> None:
    batches = []
    for split in ("train", "test"):
        dataset = Shapes(split, per_class=20, num_points=256)  # type: ignore[arg-type]
        batches.append(collate([dataset[index] for index in range(len(dataset))]))
    generator = torch.Generator().manual_seed(0)
    first, second = (torch.randn(shape, generator=generator) for shape in ((3, 64), (64, 512)))
    features = [
        torch.relu(torch.relu(batch["points"] @ first + 0.3) @ second / 8).amax(dim=1).numpy() for batch in batches
    ]
    machine = SVC(kernel="linear", C=0.01).fit(features[0], batches[0]["label"].numpy())
    accuracy = machine.score(features[1], batches[1]["label"].numpy())
    assert 0.3 < accuracy < 0.85


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "val"}, "split must be 'train' or 'test', got 'val'"),
        ({"per_class": 0}, "per_class must be at least 1, got 0"),
        ({"num_points": 0}, "num_points must be at least 1, got 0"),
        ({"seed": -1}, "a seed must be at least 0, got -1"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        Shapes(**arguments)


@pytest.mark.parametrize("name", ["max_yaw", "max_stretch"])
def test_bad_pose(name: str) -> None:
    with pytest.raises(ValueError, match=rf"^{name} must be at least 0, got -0\.5$"):
        PoseVariation(**{name: -0.5})


def test_unknown_part() -> None:
    builder = Builder(random_stream(0), ("seat", "leg"))
    with pytest.raises(ValueError, match=r"^a part must be one of \('seat', 'leg'\), got 'arm'$"):
        builder.add("arm", flat(np.eye(3)[None]))
