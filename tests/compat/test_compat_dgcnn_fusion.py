"""`fuse_edge_convs`: an existing network keeps its values, gradients, state dict and training."""

from __future__ import annotations

import copy
import io
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import pointkernels
from pointkernels.compat import dgcnn
from pointkernels.compat._edge_features import EdgeActivations, EdgeFeatures


def get_graph_feature(x: Tensor, k: int = 5, idx: Tensor | None = None) -> Tensor:
    """As projects have it, apart from the distances."""
    batch_size, num_points = x.size(0), x.size(2)
    points = x.reshape(batch_size, -1, num_points).transpose(2, 1).contiguous()
    if idx is None:
        idx = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist").topk(k, largest=False).indices
    first = torch.arange(batch_size, device=x.device).view(-1, 1, 1) * num_points
    neighbors = points.view(batch_size * num_points, -1)[(idx + first).view(-1)].view(batch_size, num_points, k, -1)
    centers = points.unsqueeze(2).expand_as(neighbors)
    return torch.cat((neighbors - centers, centers), dim=3).permute(0, 3, 1, 2).contiguous()


USUAL = get_graph_feature


@pytest.fixture(autouse=True)
def _usual_function() -> Any:
    """Fusing exchanges the function of this module."""
    yield
    globals()["get_graph_feature"] = USUAL


def block(channels: int, outputs: int, activation: nn.Module, **options: Any) -> nn.Sequential:
    norm = nn.BatchNorm2d(outputs, **options)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    return nn.Sequential(nn.Conv2d(2 * channels, outputs, 1, bias=False), norm, activation)


class Network(nn.Module):
    """Two layers in the usual words; `way` is how the maximum is written."""

    def __init__(self, way: str = "method", first: nn.Sequential | None = None) -> None:
        super().__init__()
        self.way = way
        self.conv1 = block(3, 8, nn.LeakyReLU(0.2), eps=1e-3, momentum=0.3) if first is None else first
        self.bn1 = self.conv1[1]
        self.conv2 = block(8, 6, nn.ReLU(inplace=True), momentum=None)

    def forward(self, x: Tensor) -> Tensor:
        x = get_graph_feature(x, k=4)
        x = self.conv1(x)
        x1 = x.max(dim=-1, keepdim=False)[0]
        x = get_graph_feature(x1)
        x = self.conv2(x)
        return torch.cat([x1, self.pool(x)], dim=1)

    def pool(self, x: Tensor) -> Tensor:
        if self.way == "method":
            return x.max(dim=-1)[0]
        if self.way == "unpacked":
            values, _ = x.max(-1)
            return values
        if self.way == "function":
            return torch.max(x, dim=3).values
        if self.way == "keepdim":
            return x.max(dim=-1, keepdim=True)[0].squeeze(3)
        if self.way == "amax":
            return x.amax(dim=-1)
        if self.way == "torch.amax":
            return torch.amax(x, dim=(-1,))
        if self.way == "both":
            return x.max(dim=-1)[0] + x.mean(dim=-1)
        if self.way == "mean":
            return x.mean(dim=-1)
        if self.way == "indices":
            return x.max(dim=-1)[1].to(x.dtype)
        return torch.nn.functional.dropout(x * 2.0 - x, 0.0).sum(-1)


def trained(model: nn.Module, steps: int = 2) -> tuple[list[Tensor], dict[str, Tensor]]:
    """Outputs and gradients of some steps, of evaluation, and what the model holds afterwards."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    results = []
    for step in range(steps):
        x = torch.randn(2, 3, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        output = model(x.requires_grad_())
        output.square().mean().backward()
        optimizer.step()
        results += [output.detach(), x.grad]
    model.eval()
    results.append(model(x.detach()).detach())
    return results, model.state_dict()


FUSED = ["method", "unpacked", "function", "keepdim", "amax", "torch.amax"]
UNFUSED = ["both", "mean", "indices", "arithmetic"]


@pytest.mark.parametrize("way", FUSED + UNFUSED)
def test_trains_and_evaluates_as_before(way: str) -> None:
    torch.manual_seed(0)
    usual = Network(way).double()
    model = copy.deepcopy(usual)
    expected = trained(usual)
    assert dgcnn.fuse_edge_convs(model) is model
    assert dgcnn.fused_edge_convs(model) == ["conv1", "conv2"]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        got = trained(model)
    for a, b in zip(got[0], expected[0], strict=True):
        torch.testing.assert_close(a, b)
    assert list(got[1]) == list(expected[1])
    for name, value in expected[1].items():
        torch.testing.assert_close(got[1][name], value)
    messages = [str(warning.message) for warning in caught]
    assert len(messages) == (way in UNFUSED)  # once, not at every step
    assert all("block of Conv2d(16, 6)" in message and "ran unfused" in message for message in messages)


def test_no_edge_tensor_is_formed(monkeypatch: pytest.MonkeyPatch) -> None:
    model = dgcnn.fuse_edge_convs(Network())
    for kind in (EdgeFeatures, EdgeActivations):
        monkeypatch.setattr(kind, "tensor", lambda self: pytest.fail(f"{type(self).__name__} was formed"))
    model(torch.randn(2, 3, 16)).sum().backward()


def test_modules_keep_identity_hooks_and_places() -> None:
    model = Network()
    conv1, parameters = model.conv1, list(model.parameters())
    seen = []
    conv1.register_forward_hook(lambda *_: seen.append(1))
    dgcnn.fuse_edge_convs(model)
    assert model.conv1 is conv1
    assert all(a is b for a, b in zip(model.parameters(), parameters, strict=True))
    assert model.bn1 is model.conv1[1]
    model(torch.randn(2, 3, 16))
    assert seen == [1]


def test_fusing_twice_copying_and_saving() -> None:
    model = dgcnn.fuse_edge_convs(dgcnn.fuse_edge_convs(Network())).eval()
    x = torch.randn(2, 3, 16)
    assert torch.equal(copy.deepcopy(model)(x), model(x))
    stored = io.BytesIO()
    torch.save(model, stored)
    stored.seek(0)
    assert torch.equal(torch.load(stored, weights_only=False)(x), model(x))


def test_a_plain_model_of_the_same_module_stays_right() -> None:
    other = Network().double().eval()
    x = torch.randn(2, 3, 16, dtype=torch.float64)
    expected = other(x)
    dgcnn.fuse_edge_convs(Network())
    torch.testing.assert_close(other(x), expected)


def test_our_own_function_is_accepted_too() -> None:
    globals()["get_graph_feature"] = dgcnn.get_graph_feature
    model = Network().eval()
    x = torch.randn(2, 3, 24)
    expected = model(x)
    torch.testing.assert_close(dgcnn.fuse_edge_convs(model)(x), expected)
    assert dgcnn.fused_edge_convs(model) == ["conv1", "conv2"]


@pytest.mark.parametrize("training", [True, False])
def test_compiles_as_a_whole(training: bool) -> None:
    first = block(3, 8, nn.LeakyReLU(0.2))
    model = Network(first=first)
    model.conv2[1].momentum = 0.1
    model = dgcnn.fuse_edge_convs(model).train(training)
    x = torch.randn(2, 3, 16)
    expected = copy.deepcopy(model)(x)
    torch.testing.assert_close(torch.compile(model, fullgraph=True, backend="aot_eager")(x), expected)


def test_autocast() -> None:
    model = dgcnn.fuse_edge_convs(Network()).eval()
    x = torch.randn(2, 3, 16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(model(x).float(), model(x.float()).float())


# --- two convolutions before the maximum ------------------------------------------------------------------------------


class TwoConvolutions(nn.Module):
    """A stage of DGCNN's part segmentation; `way` is what else happens to the edges, or how deep it is."""

    def __init__(self, way: str = "usual") -> None:
        super().__init__()
        self.way = way
        self.conv1 = block(3, 8, nn.LeakyReLU(0.2))
        self.conv2 = block(4, 6, nn.ReLU(), momentum=None)
        self.conv3 = block(3, 4, nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        first = self.conv1(get_graph_feature(x, k=4))
        if self.way == "first before":
            return torch.cat([first.max(dim=-1)[0], self.conv2(first).max(dim=-1)[0]], dim=1)
        second = self.conv2(first)
        if self.way == "first after":
            return torch.cat([second.max(dim=-1)[0], first.max(dim=-1)[0]], dim=1)
        if self.way == "mean":
            return second.max(dim=-1)[0] + second.mean(dim=-1)
        return (self.conv3(second) if self.way == "deep" else second).max(dim=-1)[0]


@pytest.mark.parametrize("way", ["usual", "first before", "first after", "mean", "deep"])
def test_two_convolutions_train_and_evaluate_as_before(way: str) -> None:
    torch.manual_seed(0)
    usual = TwoConvolutions(way).double()
    model = copy.deepcopy(usual)
    expected = trained(usual)
    dgcnn.fuse_edge_convs(model)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        got = trained(model)
    for a, b in zip(got[0], expected[0], strict=True):
        torch.testing.assert_close(a, b)
    for name, value in expected[1].items():
        torch.testing.assert_close(got[1][name], value)
    assert bool(caught) == (way in ("mean", "deep"))


def test_two_convolutions_form_no_edge_tensor(monkeypatch: pytest.MonkeyPatch) -> None:
    model = dgcnn.fuse_edge_convs(TwoConvolutions())
    for kind in (EdgeFeatures, EdgeActivations):
        monkeypatch.setattr(kind, "tensor", lambda self: pytest.fail(f"{type(self).__name__} was formed"))
    model(torch.randn(2, 3, 16)).sum().backward()


# --- what does not fit is left alone, and said ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "reason"),
    [
        (nn.Sequential(nn.Conv2d(6, 8, 1), nn.BatchNorm2d(8), nn.ReLU()), "its convolution has a bias"),
        (
            nn.Sequential(nn.Conv2d(6, 8, 1, bias=False), nn.BatchNorm2d(8), nn.GELU()),
            "it is not Conv2d, BatchNorm2d and LeakyReLU or ReLU",
        ),
        (
            nn.Sequential(nn.Conv2d(6, 8, 1, bias=False), nn.BatchNorm2d(8)),
            "it is not Conv2d, BatchNorm2d and LeakyReLU or ReLU",
        ),
        (
            nn.Sequential(nn.Conv2d(6, 8, 1, bias=False), nn.BatchNorm2d(8, affine=False), nn.ReLU()),
            "its BatchNorm has no weight and bias",
        ),
        (
            nn.Sequential(nn.Conv2d(6, 8, 1, bias=False, groups=2), nn.BatchNorm2d(8), nn.ReLU()),
            "its convolution is not a plain 1x1 convolution of 2 C channels",
        ),
        (
            nn.Sequential(nn.Conv2d(6, 8, 1, bias=False), nn.BatchNorm2d(8), nn.LeakyReLU(-0.1)),
            "its LeakyReLU has the negative slope -0.1",
        ),
    ],
)
def test_blocks_that_nearly_fit(first: nn.Sequential, reason: str) -> None:
    model = Network(first=first).eval()
    x = torch.randn(2, 3, 16)
    expected = model(x)
    with pytest.warns(UserWarning, match=f"conv1 was left as it is, because {reason}"):
        dgcnn.fuse_edge_convs(model)
    assert dgcnn.fused_edge_convs(model) == ["conv2"]
    torch.testing.assert_close(model(x), expected)


def test_statistics_that_are_not_tracked() -> None:
    usual = Network(first=block(3, 8, nn.ReLU(), track_running_stats=False)).double()
    model = copy.deepcopy(usual)
    expected = trained(usual)
    got = trained(dgcnn.fuse_edge_convs(model))
    for a, b in zip(got[0], expected[0], strict=True):
        torch.testing.assert_close(a, b)


def test_something_between_two_convolutions_runs_as_before() -> None:
    class Deep(Network):
        def forward(self, x: Tensor) -> Tensor:
            x = get_graph_feature(x, k=4)
            return self.conv2(self.conv1(x).repeat(1, 2, 1, 1)).max(dim=-1)[0]

    model = Deep().double().eval()
    x = torch.randn(2, 3, 16, dtype=torch.float64)
    expected = model(x)
    with pytest.warns(UserWarning, match="ran unfused|ran as before, unfused"):
        torch.testing.assert_close(dgcnn.fuse_edge_convs(model)(x), expected)


def test_another_graph_feature_is_not_exchanged() -> None:
    def centers_first(x: Tensor, k: int = 5, idx: Tensor | None = None) -> Tensor:
        return USUAL(x, k, idx).roll(x.shape[1], dims=1)

    def broken(x: Tensor, k: int = 5, idx: Tensor | None = None) -> Tensor:
        raise OSError("no such device")

    for function, reason in ((centers_first, "gives other values"), (broken, r"could not be tried \(OSError: no such")):
        globals()["get_graph_feature"] = function
        model = Network()
        with pytest.warns(UserWarning, match=f"nothing was fused, because get_graph_feature of .* {reason}"):
            dgcnn.fuse_edge_convs(model)
        assert dgcnn.fused_edge_convs(model) == []
        assert globals()["get_graph_feature"] is function


def test_models_without_the_pattern() -> None:
    with pytest.warns(UserWarning, match="no forward in Linear calls get_graph_feature"):
        dgcnn.fuse_edge_convs(nn.Linear(2, 2))
    with pytest.raises(TypeError, match=r"model must be a torch\.nn\.Module, got str"):
        dgcnn.fuse_edge_convs("model")  # type: ignore[type-var]

    class Empty(Network):
        def __init__(self) -> None:
            nn.Module.__init__(self)

        def forward(self, x: Tensor) -> Tensor:
            return get_graph_feature(x)

    with pytest.warns(UserWarning, match="Empty has no nn.Sequential of Conv2d"):
        dgcnn.fuse_edge_convs(Empty())


# --- the lazy objects behave like tensors -----------------------------------------------------------------------------


def test_edge_features_act_like_the_tensor() -> None:
    x = torch.randn(2, 3, 16)
    lazy, tensor = EdgeFeatures(x, 4, None), dgcnn.get_graph_feature(x, 4)
    assert lazy.shape == tensor.shape
    assert lazy.size(1) == 6
    assert lazy.dtype == x.dtype
    assert torch.equal(lazy[:, :3], tensor[:, :3])
    assert torch.equal(lazy + 1, tensor + 1)
    assert torch.equal(2 * lazy, 2 * tensor)
    assert torch.equal(1 - lazy, 1 - tensor)
    assert torch.equal(-lazy, -tensor)
    assert torch.equal(torch.cat([lazy, lazy], dim=1), torch.cat([tensor, tensor], dim=1))
    assert torch.equal(nn.Conv2d(6, 2, 1, bias=False)(lazy).shape and lazy.contiguous(), tensor)
    assert len(list(lazy)) == len(lazy) == 2
    assert "EdgeFeatures(tensor(" in repr(lazy)
    assert bool(pointkernels.compat.dgcnn.EdgeFeatures(torch.ones(1, 1, 1), 1, None).sum())
