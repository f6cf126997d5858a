"""Weights of other projects in our modules: same numbers as their own networks, written plainly, give."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from official_networks import (
    State,
    dgcnn_shapes,
    partseg_shapes,
    pointnet_shapes,
    random_state,
    resnet_shapes,
    run_dgcnn,
    run_inv_head,
    run_partseg,
    run_pointnet,
    run_resnet,
    run_semseg,
    semseg_shapes,
)

from crosspoint.checkpoints import export_official, load_official
from crosspoint.checkpoints.__main__ import accuracy, main, parse_axes
from crosspoint.data import ModelNet40
from crosspoint.models import DGCNN, DGCNNSeg, PointNet, ProjectionHead
from crosspoint.models.transfer import transfer_weights

LAYOUTS: dict[str, Callable[[], Any]] = {
    "CrossPoint's DGCNN": lambda: dgcnn_shapes(head=True),
    "CrossPoint's dgcnn_seg": lambda: partseg_shapes(head=True),
    "CrossPoint's ResNet": lambda: resnet_shapes((3, 4, 6, 3), bottleneck=True, width=4),
    "DGCNN, classification": lambda: dgcnn_shapes(classes=5),
    "DGCNN, part segmentation": lambda: partseg_shapes(categories=4, parts=9),
    "DGCNN, semantic segmentation": semseg_shapes,
    "learning3d's PointNet, classification": pointnet_shapes,
}


def double(state: State) -> State:
    return {name: value.double() for name, value in state.items()}


def clouds(channels: int = 3, batch: int = 2, count: int = 24) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(batch, count, channels, generator=generator, dtype=torch.float64)


def same(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)
    assert theirs.std() > 1e-3  # not the same because all is zero


@pytest.mark.parametrize("layout", LAYOUTS)
def test_there_and_back(layout: str) -> None:
    state = random_state(LAYOUTS[layout]())
    report = load_official({f"module.{name}": value for name, value in state.items()})
    assert report.layout == layout
    assert report.transfer.complete
    assert report.transfer.unused == ()
    assert not report.module.training
    exported = export_official(report.module, report.head)
    assert exported.keys() == state.keys()
    for name, value in state.items():
        assert exported[name].shape == value.shape, name
        assert torch.equal(exported[name], value), name


def test_dgcnn_and_its_head() -> None:
    state = random_state(dgcnn_shapes(head=True))
    report = load_official(state)
    assert isinstance(report.module, DGCNN)
    assert report.module.layers[0].k == 15
    assert isinstance(report.head, ProjectionHead)
    features = report.module.double()(clouds())
    same(features, run_dgcnn(double(state), clouds(), 15))
    same(report.head.double()(features), run_inv_head(double(state), features))


def test_dgcnn_classifier() -> None:
    state = random_state(dgcnn_shapes(classes=5))
    same(load_official(state, k=6).module.double()(clouds()), run_dgcnn(double(state), clouds(), 6))


def test_dgcnn_seg_encoder() -> None:
    state = random_state(partseg_shapes(head=True))
    report = load_official(state)
    assert isinstance(report.module, DGCNNSeg)
    same(report.module.double()(clouds()), run_partseg(double(state), clouds(), 15))


def test_part_segmenter() -> None:
    state = random_state(partseg_shapes(categories=4, parts=9))
    module = load_official(state, k=5).module.double()
    category = torch.tensor([2, 0])
    logits = module(clouds(), category)
    assert logits.shape == (2, 24, 9)
    same(logits, run_partseg(double(state), clouds(), 5, category))


def test_semantic_segmenter() -> None:
    state = random_state(semseg_shapes())
    same(load_official(state, k=5).module.double()(clouds(9)), run_semseg(double(state), clouds(9), 5))


def test_pointnet_classifier() -> None:
    state = random_state(pointnet_shapes())
    same(load_official(state).module.double()(clouds()), run_pointnet(double(state), clouds()))


@pytest.mark.parametrize(
    ("blocks", "bottleneck"), [((2, 2, 2, 2), False), ((3, 4, 6, 3), True)], ids=["ResNet-18", "ResNet-50"]
)
def test_image_encoder(blocks: tuple[int, ...], bottleneck: bool) -> None:
    state = random_state(resnet_shapes(blocks, bottleneck=bottleneck, width=4))
    images = torch.randn(2, 3, 40, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    report = load_official(state)
    features = report.module.double()(images)
    same(features, run_resnet(double(state), images, blocks))
    assert report.head is not None
    same(report.head.double()(features), run_inv_head(double(state), features))
    torchvision = {name.removeprefix("resnet."): value for name, value in state.items() if "inv_head" not in name}
    plain = load_official({**torchvision, "fc.weight": torch.zeros(3, 3)})
    assert plain.layout == "torchvision's ResNet"
    assert plain.transfer.unused == ("resnet.fc.weight",)
    same(plain.module.double()(images), features)


# What does not fit


def test_what_is_missing_is_named() -> None:
    state = random_state(dgcnn_shapes())
    del state["conv2.0.weight"], state["conv3.1.bias"], state["bn3.bias"]
    with pytest.raises(ValueError, match=r"^weights must be complete enough .*, got none named conv2\.0\.weight in "):
        load_official(state)
    state = random_state(dgcnn_shapes())
    del state["conv3.1.bias"], state["bn3.bias"]
    state["conv5.1.bias"] = state["bn5.bias"] = torch.zeros(7)
    state["surplus"] = torch.zeros(1)
    message = (
        "the state dict must fill the whole network (CrossPoint's DGCNN), got 28 of 30 weights taken over; "
        "missing: conv3.1.bias; mismatched: conv5.1.bias (7,) for (32,); unused: surplus"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        load_official(state)
    report = load_official(state, strict=False)
    assert report.transfer.missing == ("conv3.1.bias",)
    assert str(report) == f"CrossPoint's DGCNN: DGCNN; {message.split('got ')[1]}"


def test_either_name_of_a_norm_will_do_but_not_two_values() -> None:
    state = random_state(dgcnn_shapes())
    kept = {name: value for name, value in state.items() if not name.startswith("bn")}
    assert load_official(kept).transfer.complete
    state["bn2.weight"] = state["bn2.weight"] + 1
    with pytest.raises(ValueError, match=r"^two names .*, got two for conv2\.1\.weight and bn2\.weight$"):
        load_official(state)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"a": torch.zeros(2)}, r"^weights must be CrossPoint's DGCNN, .*; got the state dict with a$"),
        ({}, r"^weights must be a mapping from names to tensors, got dict in a state dict$"),
        ({"epoch": 3}, r"^weights must be a mapping from names to tensors, got dict in a state dict$"),
    ],
)
def test_foreign_content(content: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_official(content)


def test_wrapped_files(tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    state = random_state(pointnet_shapes())
    torch.save({"epoch": 3, "state_dict": state}, path)
    assert load_official(path).transfer.complete


def test_files_that_cannot_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "model.pth"
    with pytest.raises(FileNotFoundError, match=f"^weights must be in a file, got no file {re.escape(str(path))}$"):
        load_official(path)
    torch.save(random_state(pointnet_shapes()), path)
    path.write_bytes(path.read_bytes()[:-300])
    assert main(["info", str(path)]) == 2
    assert capsys.readouterr().err == f"error: weights must be in a complete file of torch.save, got {path}\n"


def test_networks_that_no_other_project_has() -> None:
    message = r"^a network must be one that another project has, got PointNet with "
    with pytest.raises(ValueError, match=message):
        export_official(PointNet(embedding=8, t_net=True))


def test_nothing_taken_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"^at least one weight must fit PointNet, got none in a state dict of x$"):
        transfer_weights(PointNet(embedding=8), {"x": torch.zeros(1)})


# The command


@pytest.mark.parametrize("axes", ["x,y", "x,y,y", "x,y,w", "", "x,y,z,x"])
def test_axes_are_checked(axes: str) -> None:
    with pytest.raises(ValueError, match=f"^axes must name x, y and z once each, .*, got {axes}$"):
        parse_axes(axes)


def test_axes() -> None:
    columns, signs = parse_axes("-x,z,y")
    assert (torch.tensor([[1.0, 2.0, 3.0]])[..., columns] * signs).tolist() == [[-1.0, 3.0, 2.0]]


def test_a_run_goes_to_the_official_layout(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from crosspoint.config.flat import flatten
    from crosspoint.config.pretrain import Config, ModelConfig
    from crosspoint.engine.checkpoint import save_checkpoint
    from crosspoint.models import CrossPoint

    model = ModelConfig(encoder="dgcnn_seg", k=4, embedding=16, cloud_hidden=16, image_hidden=8, resnet_width=4)
    network = CrossPoint(model)
    rest = {"optimiser": {}, "schedule": {}, "randomness": [], "step": 0, "steps_per_epoch": 1, "processes": 1}
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, {"config": flatten(Config(model=model)), "model": network.state_dict(), **rest})
    for part, encoder in (("cloud", network.cloud_encoder), ("image", network.image_encoder)):
        assert main(["export", str(path), str(tmp_path / part), "--part", part]) == 0
        loaded = load_official(tmp_path / part)
        assert loaded.head is not None
        for name, value in encoder.state_dict().items():
            assert torch.equal(loaded.module.state_dict()[name], value), name
    capsys.readouterr()
    assert main(["export", str(path), str(tmp_path / "cloud")]) == 2
    assert capsys.readouterr().err == f"error: output must not exist, got {tmp_path / 'cloud'}\n"


# The real files


@pytest.fixture
def weights(shared_data: Path) -> Path:
    folder = shared_data.parent / "weights"
    if not folder.is_dir():
        pytest.skip(f"needs {folder}")
    return folder


def test_real_pointnet(weights: Path, shared_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = weights / "learning3d_pointnet_modelnet40.t7"
    state = torch.load(file, weights_only=True, map_location="cpu")
    report = load_official(file)
    dataset = ModelNet40(shared_data / "modelnet40_ply_hdf5_2048", "test")
    points = torch.stack([dataset[index]["points"] for index in range(0, 2468, 300)])[..., [0, 2, 1]]
    points = points * torch.tensor([-1.0, 1.0, 1.0])
    with torch.no_grad():
        ours, theirs = report.module(points), run_pointnet(state, points)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    exported = export_official(report.module)
    assert exported.keys() == state.keys()
    assert all(torch.equal(exported[name], state[name]) for name in state)
    few = torch.utils.data.Subset(dataset, range(0, 2468, 60))
    assert accuracy(report.module, few, "-x,z,y") > 0.65  # 78.7 % of all test clouds
    assert accuracy(report.module, few) < 0.3  # lying on their sides
    assert main(["info", str(file)]) == 0
    assert "Classifier; 51 of 51 weights taken over" in capsys.readouterr().out


def test_real_semantic_segmentation(weights: Path, shared_data: Path) -> None:
    file = weights / "dgcnn_semseg_s3dis_area5.t7"
    state = {
        name.removeprefix("module."): value
        for name, value in torch.load(file, weights_only=True, map_location="cpu").items()
    }
    report = load_official(file)
    scan = np.load(shared_data / "scans" / "pcl_room_scan1.npz")["points"].astype(np.float64)
    near = scan[np.argsort(np.square(scan[:, :2] - scan[len(scan) // 2, :2]).sum(axis=1))[:4096:8]]
    block = near - near.min(axis=0)
    room = (near - scan.min(axis=0)) / (scan.max(axis=0) - scan.min(axis=0))
    points = torch.from_numpy(np.concatenate([block, np.full_like(block, 0.5), room], axis=1)).unsqueeze(0)
    with torch.no_grad():
        exact = run_semseg(double(state), points, 20)
        # In single precision two neighbours at nearly one distance may change places, in theirs as in ours.
        torch.testing.assert_close(report.module.double()(points), exact, rtol=1e-4, atol=1e-4)
        single = report.module.float()(points.float()).double()
    assert ((single - exact).abs() < 1e-4).double().mean() > 0.99
    assert exact.argmax(dim=2).unique().numel() > 1
