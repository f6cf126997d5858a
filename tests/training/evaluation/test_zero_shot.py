"""Zero-shot evaluation: probabilities against one object at a time, scores by hand, and the command."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from crosspoint.checkpoints.aligned import save_aligned
from crosspoint.config.aligned import AlignedConfig, CloudConfig, ImageConfig, TextConfig
from crosspoint.data.augment.image_views import ImageViews, plain_images
from crosspoint.data.shapes import ShiftedShapes
from crosspoint.evaluate import main
from crosspoint.evaluation.aligned_models import aligned_model
from crosspoint.evaluation.zero_shot import Probabilities, probabilities, scores
from crosspoint.models.aligned import AlignedModel

CONFIG = AlignedConfig(
    embedding=12,
    image=ImageConfig(image_size=16, patch_size=8, width=16, layers=1, heads=2),
    cloud=CloudConfig(groups=4, group_size=3, token_widths=(4, 6, 6, 8), width=16, layers=1, heads=2),
    text=TextConfig(width=16, layers=1, heads=2, context=40),
)
DATA = [
    "--data.per-class=1",
    "--data.test-per-class=1",
    "--data.num-points=32",
    "--data.image-size=24",
    "--data.views=3",
]


@pytest.fixture(scope="module")
def dataset() -> ShiftedShapes:
    return ShiftedShapes("test", per_class=1, num_points=32, num_views=3, image_size=24, all_views=True)


@pytest.fixture(scope="module")
def model(dataset: ShiftedShapes) -> AlignedModel:
    torch.manual_seed(0)
    model = AlignedModel(CONFIG)
    model.set_classes(dataset.class_names)
    return model.train()


@torch.no_grad()
def test_probabilities_are_those_of_one_object_at_a_time(model: AlignedModel, dataset: ShiftedShapes) -> None:
    counted: list[int] = []
    state = {name: value.clone() for name, value in model.state_dict().items()}
    found = probabilities(model, dataset, torch.device("cpu"), shift=1, batch_size=4, advance=counted.append)
    assert model.training  # as before, and nothing was learned
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert sum(counted) == len(dataset) == len(found.labels)
    assert found.labels.tolist() == list(dataset.labels)
    assert found.views.shape == (len(dataset), 3, len(dataset.class_names))
    model.eval()
    for number in (0, len(dataset) - 1):
        item = dataset[number]
        images = plain_images(item["views"], ImageViews(size=16))
        expected = model.logits(model.image(images).feature).softmax(dim=1)
        torch.testing.assert_close(torch.from_numpy(found.views[number]), expected)
        turned = item["points"][:, [2, 0, 1]].unsqueeze(0)
        expected_cloud = model.logits(model.cloud(model.cloud.group(turned)).feature).softmax(dim=1)[0]
        torch.testing.assert_close(torch.from_numpy(found.cloud[number]), expected_cloud)
        joint = (expected.mean(dim=0) + expected_cloud) / 2
        torch.testing.assert_close(torch.from_numpy(found.joint[number]), joint)
    model.train()


def test_scores_by_hand() -> None:
    """Three objects of two views; image names the first two rightly, cloud the last two, both together all of them."""
    views = [[[0.9, 0.1], [0.2, 0.8]], [[0.1, 0.9], [0.3, 0.7]], [[0.6, 0.4], [0.6, 0.4]]]
    cloud = [[0.48, 0.52], [0.2, 0.8], [0.1, 0.9]]
    found = Probabilities(np.array([0, 1, 1]), np.array(views, dtype=np.float32), np.array(cloud, dtype=np.float32))
    result = scores(found)
    assert result["image_one_view"]["top1"] == pytest.approx(3 / 6)
    assert result["image"] == {"top1": pytest.approx(2 / 3), "confusion": [[1, 0], [1, 1]]}
    assert result["cloud"] == {"top1": pytest.approx(2 / 3), "confusion": [[0, 1], [0, 2]]}
    assert result["joint"] == {"top1": pytest.approx(1.0), "confusion": [[1, 0], [0, 2]]}
    values = np.tile(np.arange(6, dtype=np.float32), (2, 1))
    many = scores(Probabilities(np.array([1, 0]), values[:, None], values))
    assert many["cloud"]["top1"] == 0
    assert many["cloud"]["top5"] == 0.5


def test_objects_without_label_or_views_are_refused(model: AlignedModel) -> None:
    unlabelled = ShiftedShapes("test", per_class=1, num_points=32, num_views=1, image_size=24, all_views=True)
    unlabelled.labels = [-1] * len(unlabelled)
    with pytest.raises(ValueError, match=r"at least 1 object with a label to test on, got \d+ without"):
        probabilities(model, unlabelled, torch.device("cpu"))
    single = ShiftedShapes("test", per_class=1, num_points=32, num_views=1, image_size=24)
    with pytest.raises(ValueError, match="objects to test on must have views"):
        probabilities(model, single, torch.device("cpu"))


def test_the_command(model: AlignedModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_aligned(tmp_path / "aligned.pt", model)
    (tmp_path / "config.json").write_text("{}")  # a run's folder
    assert main(["zero-shot", f"--checkpoint={tmp_path}", *DATA, "--templates=plain"]) == 0
    output = capsys.readouterr().out
    assert "joint: mean of image and cloud" in output
    folder = tmp_path / "evaluation"
    content = json.loads((folder / "zero-shot.json").read_text())["shapes_shifted"]
    assert content["views"] == 3
    assert content["objects"] == len(content["classes"]) == np.sum(content["scores"]["joint"]["confusion"])
    for name in content["figures"].values():
        assert (folder / name).read_bytes().startswith(b"\x89PNG")
    # A self-trained model has no text tower; its own classes are used, and give the same.
    model.set_classes(content["classes"], ("a {}.",))
    text, model.text = model.text, None
    save_aligned(tmp_path / "aligned.pt", model)
    model.text = text
    assert main(["zero-shot", f"--checkpoint={tmp_path / 'aligned.pt'}", *DATA]) == 0
    again = json.loads((folder / "zero-shot.json").read_text())["shapes_shifted"]
    assert again["scores"] == content["scores"]


def test_unusable_starts_are_explained(tmp_path: Path, capsys: pytest.CaptureFixture[str], model: AlignedModel) -> None:
    assert main(["zero-shot", f"--checkpoint={tmp_path / 'absent.pt'}", f"--output={tmp_path}", *DATA]) == 2
    assert "there must be an aligned model at" in capsys.readouterr().err
    torch.save({"conv1.weight": torch.zeros(2)}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match="weights must be of ULIP, Cross-MoST or Point-BERT"):
        aligned_model(tmp_path / "other.pt")
    save_aligned(tmp_path / "aligned.pt", model)
    with pytest.raises(ValueError, match="clip must be left out where"):
        aligned_model(tmp_path, clip="some/clip")
    with pytest.raises(OSError, match="must hold a CLIP that can be loaded"):
        aligned_model(tmp_path / "absent")
