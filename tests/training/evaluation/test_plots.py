from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from crosspoint.evaluation.features import Features
from crosspoint.evaluation.plots import draw_run, embed

RECORDS = [{"step": step, "loss": 3.0 / step, "intra": 1.0 / step, "cross": 2.0 / step} for step in range(1, 30)]


def features(count: int, classes: int) -> Features:
    labels = np.arange(count) % classes
    values = np.random.default_rng(0).normal(size=(count, 6)) + 10 * labels[:, None]
    return Features(values.astype(np.float32), labels)


@pytest.mark.parametrize("method", ["pca", "tsne"])
@pytest.mark.parametrize("count", [1, 2, 3, 5, 40])
def test_two_finite_dimensions(method: str, count: int) -> None:
    values = features(count, 2).values
    positions = embed(values, method)
    assert positions.shape == (count, 2)
    assert np.isfinite(positions).all()
    np.testing.assert_array_equal(embed(values, method), positions)


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_distant_classes_stay_apart(method: str) -> None:
    data = features(60, 2)
    positions = embed(data.values, method)
    centres = np.stack([positions[data.labels == label].mean(axis=0) for label in (0, 1)])
    nearest = np.linalg.norm(positions[:, None] - centres, axis=2).argmin(axis=1)
    np.testing.assert_array_equal(nearest, data.labels)


@pytest.mark.parametrize("classes", [2, 45])
def test_writes_a_png(tmp_path: Path, classes: int) -> None:
    path = tmp_path / "figure.png"
    names = [f"class {number}" for number in range(classes)]
    draw_run(path, RECORDS, features(90, classes), names, method="pca", title="features")
    with Image.open(path) as image:
        image.load()
        assert image.format == "PNG"
        assert len(np.unique(np.asarray(image.convert("L")))) > 20  # not an empty page
    assert list(tmp_path.iterdir()) == [path]


def test_loss_curves_alone_and_an_empty_log(tmp_path: Path) -> None:
    draw_run(tmp_path / "losses.png", RECORDS, None, (), method="pca", title="")
    draw_run(tmp_path / "empty.png", [], None, (), method="pca", title="")
    assert (tmp_path / "losses.png").stat().st_size > (tmp_path / "empty.png").stat().st_size


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"^the figure must be writable at .*, got: No such file or directory$"):
        draw_run(tmp_path / "absent" / "figure.png", RECORDS, None, (), method="pca", title="")
