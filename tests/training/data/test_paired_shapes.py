"""Procedural pairs, clean and shifted."""

from __future__ import annotations

import math
import pickle
from typing import Any

import numpy as np
import pytest
import torch

from crosspoint.data import PairedShapes, Sample, Shapes, ShiftedShapes, collate
from crosspoint.data.keys import random_stream
from crosspoint.data.shapes import DomainShift, PhotoShift, ScanShift, paired
from crosspoint.data.shapes.photo import photograph
from crosspoint.data.shapes.scan import scan, visible

OPTIONS: dict[str, Any] = {"per_class": 1, "num_points": 64, "num_views": 3, "image_size": 16, "all_views": True}
KEYS = [(index, epoch) for index in (0, 7, 20) for epoch in (0, 1, 5)]


def _equal(first: Sample, second: Sample) -> bool:
    return sorted(first) == sorted(second) and all(torch.equal(first[key], second[key]) for key in first)  # type: ignore[literal-required]


@pytest.fixture(scope="module")
def clean() -> PairedShapes:
    return PairedShapes(**OPTIONS)


@pytest.fixture(scope="module")
def shifted() -> ShiftedShapes:
    return ShiftedShapes(**OPTIONS)


@pytest.mark.parametrize("kind", ["clean", "shifted"])
def test_items(kind: str, request: pytest.FixtureRequest) -> None:
    dataset: PairedShapes = request.getfixturevalue(kind)
    assert len(dataset) == len(Shapes.class_names)
    assert dataset.class_names == Shapes.class_names
    sample = dataset[7]
    assert sorted(sample) == ["image", "label", "points", "views"]
    assert int(sample["label"]) == dataset.labels[7] == 7
    assert sample["points"].shape == (64, 3)
    assert sample["points"].dtype == torch.float32
    assert sample["points"].norm(dim=1).max() == pytest.approx(1, abs=1e-5)
    assert sample["views"].shape == (3, 3, 16, 16)
    assert sample["image"].dtype == sample["views"].dtype == torch.uint8
    assert collate([sample, dataset[8]])["views"].shape == (2, 3, 3, 16, 16)
    assert len({view.numpy().tobytes() for view in sample["views"]}) == 3
    shown = {view.numpy().tobytes() for view in sample["views"]}
    images = {dataset[7, epoch]["image"].numpy().tobytes() for epoch in range(16)}
    assert images == shown, "an image is one of the views, in the end each of them"
    assert torch.equal(dataset[7, 3]["views"], sample["views"])
    assert not torch.equal(dataset[7, 3]["points"], sample["points"])


@pytest.mark.parametrize("kind", ["clean", "shifted"])
def test_items_follow_from_their_key_alone(kind: str, request: pytest.FixtureRequest) -> None:
    dataset: PairedShapes = request.getfixturevalue(kind)
    fresh = type(dataset)(**OPTIONS, cache_megabytes=0)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[index, union-attr]  # noqa: NPY002
    assert all(_equal(dataset[key], fresh[key]) for key in reversed(KEYS))
    assert _equal(pickle.loads(pickle.dumps(dataset))[7, 1], dataset[7, 1])
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])  # type: ignore[index]  # noqa: NPY002


def test_what_is_handed_out_may_be_changed(clean: PairedShapes) -> None:
    sample = clean[3]
    kept = {name: value.clone() for name, value in sample.items()}  # type: ignore[attr-defined]
    for value in sample.values():
        value.zero_()  # type: ignore[attr-defined]
    assert all(torch.equal(clean[3][name], kept[name]) for name in kept)  # type: ignore[literal-required]


def test_domains_splits_and_seeds_have_other_objects(clean: PairedShapes, shifted: ShiftedShapes) -> None:
    nothing = DomainShift(ScanShift(viewpoints=0), PhotoShift(), severity=(0.0, 0.0))
    others = [
        PairedShapes("test", **OPTIONS),
        PairedShapes(**OPTIONS, seed=1),
        ShiftedShapes(**OPTIONS, shift=nothing),
        ShiftedShapes("test", **OPTIONS, shift=nothing),
    ]
    clouds = {dataset[7]["points"].numpy().tobytes() for dataset in (clean, shifted, *others)}
    assert len(clouds) == 6
    larger = PairedShapes(**{**OPTIONS, "per_class": 3})
    assert _equal(larger[7], clean[7])


def test_severities_are_drawn_for_the_two_sides_independently(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: dict[str, list[float]] = {"scan": [], "photo": []}

    def record_scan(points: Any, shift: ScanShift, severity: float, rng: Any) -> Any:
        drawn["scan"].append(severity)
        return points

    def record_photo(*given: Any, **_: Any) -> torch.Tensor:
        drawn["photo"].append(given[4])
        return torch.zeros(1, 3, 4, 4, dtype=torch.uint8)

    monkeypatch.setattr(paired, "scan", record_scan)
    monkeypatch.setattr(paired, "photograph", record_photo)
    dataset = ShiftedShapes(per_class=3, num_points=8, num_views=1, shift=DomainShift(severity=(0.2, 0.8)))
    for index in range(len(dataset)):
        dataset[index]
    for values in drawn.values():
        assert 0.2 <= min(values) < 0.25
        assert 0.75 < max(values) <= 0.8
    assert abs(np.corrcoef(drawn["scan"], drawn["photo"])[0, 1]) < 0.3


# Scans


def _sphere(count: int = 8000) -> np.ndarray[Any, Any]:
    points = np.random.default_rng(0).normal(size=(count, 3))
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def _quiet(**changes: Any) -> ScanShift:
    return ScanShift(**{"viewpoints": 0, "cut": 0, "noise": 0, "strays": 0, "stretch": 0, "tilt": 0, **changes})


def test_a_scanner_sees_the_side_that_faces_it() -> None:
    sphere = _sphere()
    views = ((0.0, 0.0, (0, 0, 1)), (math.pi / 2, 0.0, (1, 0, 0)), (0.3, math.pi / 2, (0, 1, 0)))
    for azimuth, elevation, towards in views:
        seen = visible(sphere, azimuth, elevation)
        height = sphere @ np.array(towards)
        assert seen[height > 0.75].all()  # nearer to the rim some are lost, as every scanner loses them
        assert not seen[height < -0.4].any()


def test_more_viewpoints_see_more() -> None:
    sphere = _sphere()
    counts = (1, 2, 4, 0)
    shares = [len(scan(sphere, _quiet(viewpoints=count), 1.0, random_stream(3))) / len(sphere) for count in counts]
    assert 0.4 < shares[0] < 0.5
    assert shares[0] < shares[1] < shares[3] == 1.0
    assert shares[2] > 0.8


def test_without_severity_a_scan_is_what_the_scanner_sees() -> None:
    sphere = _sphere(500)
    scanned = scan(sphere, ScanShift(viewpoints=0), 0.0, random_stream(1))
    assert np.allclose(np.sort(scanned, axis=0), np.sort(sphere, axis=0), atol=1e-12)


def test_each_change_of_a_scan() -> None:
    sphere = _sphere(2000)

    def scans(**changes: Any) -> list[np.ndarray[Any, Any]]:
        return [scan(sphere, _quiet(**changes), 1.0, random_stream(5, number)) for number in range(12)]

    cut = [len(cloud) / 2000 for cloud in scans(cut=0.5)]
    assert 0.5 <= min(cut) < 0.7
    assert 0.9 < max(cut) <= 1
    for cloud in scans(cut=0.5):  # one side is missing, not points here and there
        mean = cloud.mean(axis=0)
        assert np.linalg.norm(mean) == pytest.approx(1 - len(cloud) / 2000, abs=0.1)
    radius = np.linalg.norm(scans(noise=0.05)[0], axis=1)
    assert radius.std() == pytest.approx(0.05, abs=0.01)
    strays = [np.mean(abs(np.linalg.norm(cloud, axis=1) - 1) > 0.02) for cloud in scans(strays=0.2)]
    assert 0.1 < max(strays) <= 0.23
    extents = np.array([np.ptp(cloud, axis=0) / 2 for cloud in scans(stretch=0.3)])
    assert math.exp(-0.31) < extents.min() < 0.85
    assert 1.15 < extents.max() < math.exp(0.31)
    pole = np.array([[0.0, 1.0, 0.0]])
    leaning = [scan(pole, _quiet(tilt=0.4), 1.0, random_stream(6, number))[0] for number in range(40)]
    angles = [math.acos(point[1]) for point in leaning]
    assert 0.3 < max(angles) <= 0.4
    assert {np.sign(point[0]) for point in leaning} == {np.sign(point[2]) for point in leaning} == {-1.0, 1.0}


# Photos


def _photos(severity: float = 1.0, **changes: Any) -> torch.Tensor:
    """Pictures of a ball of two parts."""
    shift = PhotoShift(**{"background": 0, "colour": 0, "light": 0, "zoom": 0, "blur": 0, "noise": 0, **changes})
    ball = torch.from_numpy(_sphere(1000)).float() * 0.9
    parts = (ball[:, 1] > 0).long().numpy()
    pictures = photograph(ball, ball / 0.9, parts, shift, severity, random_stream(4), count=6, size=24)
    return pictures.float() / 255


def test_each_change_of_a_photo() -> None:
    plain = _photos()
    assert (plain[:, :, 0, 0] == 1).all()
    assert torch.equal(plain[:, 0], plain[:, 1])
    assert torch.equal(plain[:, 0], plain[:, 2])
    assert plain[:, 0, 6:10, 8:12].mean() > plain[:, 0, 16:20, 14:18].mean() + 0.1  # light from above, on the left

    background = _photos(background=1.0)
    assert len({tuple(picture[:, 0, 0].tolist()) for picture in background}) == 6
    assert torch.equal(background[:, :, 12, 12], plain[:, :, 12, 12])
    coloured = _photos(colour=1.0)
    assert (coloured[:, :, 12, 12].amax(dim=1) > coloured[:, :, 12, 12].amin(dim=1)).all()
    lit = _photos(light=1.0)[:, 0, 6:10, 8:12].mean(dim=(1, 2))
    assert lit.min() < plain[:, 0, 6:10, 8:12].mean() - 0.2

    def covered(pictures: torch.Tensor) -> torch.Tensor:
        return (pictures[:, 0] < 1).float().mean(dim=(1, 2))

    small = covered(_photos(zoom=0.5)) / covered(plain)
    assert 0.2 < small.min() < 0.6
    assert small.max() <= 1.02
    assert (_photos(blur=3.0) - plain).abs().mean() > 0.01
    assert (_photos(blur=3.0).diff(dim=3).abs().amax() < plain.diff(dim=3).abs().amax()).all()
    grain = (_photos(noise=0.3) - plain)[(plain > 0.3) & (plain < 0.7)]
    assert 0.01 < grain.std() < 0.31
    everything = {"background": 1.0, "colour": 1.0, "light": 1.0, "zoom": 0.5, "blur": 3.0, "noise": 0.3}
    assert torch.equal(_photos(0.0, **everything), plain), "nothing happens without severity"


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        (ScanShift, {"viewpoints": -1}, "viewpoints must be at least 0, got -1"),
        (ScanShift, {"cut": 1.0}, r"cut must lie in \[0, 1\), got 1.0"),
        (ScanShift, {"noise": -0.1}, "noise must be at least 0, got -0.1"),
        (PhotoShift, {"colour": 1.5}, r"colour must lie in \[0, 1\], got 1.5"),
        (PhotoShift, {"zoom": 1.0}, r"zoom must lie in \[0, 1\), got 1.0"),
        (PhotoShift, {"blur": -1.0}, "blur must be at least 0, got -1.0"),
        (PhotoShift, {"elevation": (1.0, 0.0)}, r"elevation must be a range inside .*, got \(1.0, 0.0\)"),
        (DomainShift, {"severity": (0.5, 0.2)}, r"severity must be a range inside \[0, 1\], got \(0.5, 0.2\)"),
        (PairedShapes, {"split": "val"}, "split must be 'train' or 'test', got 'val'"),
        (PairedShapes, {"num_views": 0}, "num_views must be at least 1, got 0"),
        (PairedShapes, {"num_points": 0}, "num_points must be at least 1, got 0"),
        (ShiftedShapes, {"seed": -1}, "a seed must be at least 0, got -1"),
    ],
)
def test_bad_arguments(kind: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        kind(**arguments)
