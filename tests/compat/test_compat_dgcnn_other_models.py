"""`fuse_edge_convs` changes one model, however that calls get_graph_feature, and can be undone."""

from __future__ import annotations

import copy
import functools
import io
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import model_util
import model_util as util
import pytest
import torch
from model_util import get_graph_feature
from torch import Tensor, nn

from pointkernels.compat import dgcnn
from pointkernels.compat._edge_features import EdgeConvBlock, EdgeFeatures

HERE = Path(__file__).parent


def block() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(6, 8, 1, bias=False), nn.BatchNorm2d(8), nn.LeakyReLU(0.2))


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = block()

    def forward(self, x: Tensor) -> Any:
        return self.conv(get_graph_feature(x, k=4)).max(dim=-1)[0]


class Qualified(Plain):
    def forward(self, x: Tensor) -> Any:
        return self.conv(util.get_graph_feature(x, k=4)).max(dim=-1)[0]


class TwiceQualified(Plain):
    def forward(self, x: Tensor) -> Any:
        return self.conv(sys.modules["model_util"].get_graph_feature(x)).max(dim=-1)[0]


class InAMethod(Plain):
    def edges(self, x: Tensor) -> Tensor:
        return util.get_graph_feature(x, k=4)

    def forward(self, x: Tensor) -> Any:
        return self.conv(self.edges(x)).max(dim=-1)[0]


class InAComprehension(Plain):
    def forward(self, x: Tensor) -> Any:
        return torch.cat([self.conv(get_graph_feature(y, k=4)).max(dim=-1)[0] for y in (x,)])


class Inherited(Plain):
    def extra_repr(self) -> str:
        return "more"


class Superior(Plain):
    """Calls in its own forward and, by super(), that of its base."""

    def forward(self, x: Tensor) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            usual = super().forward(x)
        return self.conv(get_graph_feature(x, k=4)).max(dim=-1)[0] + 0 * usual


def logged(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return call


class Decorated(Plain):
    @logged
    def forward(self, x: Tensor) -> Any:
        return self.conv(get_graph_feature(x, k=4)).max(dim=-1)[0]


class Scripted(Plain):
    @torch.autocast("cpu", enabled=False)
    def forward(self, x: Tensor) -> Any:
        return self.conv(get_graph_feature(x, k=4)).max(dim=-1)[0]


class Nested(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = Plain(), Qualified()

    def forward(self, x: Tensor) -> Any:
        return self.a(x) + self.b(x)


FUSING = [Plain, Qualified, InAMethod, InAComprehension, Inherited, Superior, Decorated, Scripted, Nested]


@pytest.mark.parametrize("kind", FUSING, ids=lambda kind: kind.__name__)
def test_each_way_to_call_fuses_and_is_undone(kind: type[nn.Module], monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    usual, x = kind().eval(), torch.randn(2, 3, 16)
    expected = usual(x)
    before = dict(vars(model_util)), dict(globals())
    model = dgcnn.fuse_edge_convs(copy.deepcopy(usual))
    assert isinstance(model, kind)
    assert type(model).__name__ == kind.__name__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        torch.testing.assert_close(model(x), expected)
    names = [name for name, module in model.named_modules() if isinstance(module, EdgeConvBlock)]
    if kind is not Superior:
        assert dgcnn.fused_edge_convs(model) == names != []
        with monkeypatch.context() as patch:
            patch.setattr(EdgeFeatures, "tensor", lambda self: pytest.fail("the edges were formed"))
            model(x)
    # What was there is there, and the same; the plain model never meets anything new.
    for now, then in zip((vars(model_util), globals()), before, strict=True):
        assert all(now[name] is value for name, value in then.items() if not name.startswith("_pointkernels_"))
    assert type(usual) is kind
    assert torch.equal(usual(x), expected)
    assert dgcnn.unfuse_edge_convs(model) is model
    assert type(model) is kind
    assert not any(isinstance(module, EdgeConvBlock) for module in model.modules())
    assert dgcnn.fused_edge_convs(model) == []
    assert torch.equal(model(x), expected)
    assert vars(model).keys() == vars(usual).keys()
    torch.testing.assert_close(dgcnn.fuse_edge_convs(model)(x), expected)


def test_a_model_of_the_same_module_gets_tensors() -> None:
    class Strict(Plain):
        def forward(self, x: Tensor) -> Any:
            edges = get_graph_feature(x, k=4)
            assert type(edges) is Tensor
            return self.conv(edges).max(dim=-1)[0]

    other, same = Strict(), Plain()
    dgcnn.fuse_edge_convs(Plain())
    other(torch.randn(2, 3, 16))
    assert type(same) is Plain
    assert type(same.conv) is nn.Sequential
    assert type(get_graph_feature(torch.randn(2, 3, 16))) is Tensor


@pytest.mark.parametrize("kind", [Plain, Qualified])
def test_stored_and_loaded_it_is_fused(kind: type[nn.Module], tmp_path: Path) -> None:
    model, x = dgcnn.fuse_edge_convs(kind()).eval(), torch.randn(2, 3, 16)
    stored = io.BytesIO()
    torch.save(model, stored)
    stored.seek(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for other in (torch.load(stored, weights_only=False), copy.deepcopy(model)):
            assert type(other) is type(model)
            assert other is not model
            assert torch.equal(other(x), model(x))
            assert dgcnn.fused_edge_convs(other) == ["conv"]
    torch.save((model, x), tmp_path / "model.pt")
    code = (
        "import sys, warnings, torch; warnings.simplefilter('error'); from pointkernels.compat import dgcnn; "
        f"model, x = torch.load({str(tmp_path / 'model.pt')!r}, weights_only=False); model(x); "
        "print(dgcnn.fused_edge_convs(model))"
    )
    paths = [str(HERE), *sys.path]
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:] = {paths!r}; {code}"], capture_output=True, text=True
    )
    assert (done.stdout, done.returncode) == ("['conv']\n", 0), done.stderr


def test_replicas_are_fused_with_their_own_parameters() -> None:
    model = dgcnn.fuse_edge_convs(Plain()).eval()
    replica = model._replicate_for_data_parallel()  # what nn.DataParallel makes for each device
    replica.conv = copy.deepcopy(model.conv)
    nn.init.zeros_(replica.conv[1].weight)
    nn.init.zeros_(replica.conv[1].bias)
    assert not replica(torch.randn(2, 3, 16)).any()


@pytest.mark.parametrize("kind", [Plain, Qualified, InAMethod])
def test_every_way_compiles_as_a_whole(kind: type[nn.Module]) -> None:
    model, x = dgcnn.fuse_edge_convs(kind()).eval(), torch.randn(2, 3, 16)
    torch.testing.assert_close(torch.compile(model, fullgraph=True, backend="aot_eager")(x), model(x))


def test_a_method_of_the_model_or_another_object_is_not_taken_for_the_function() -> None:
    class Own(Plain):
        def get_graph_feature(self, x: Tensor) -> Tensor:
            return torch.zeros(2, 6, 16, 4)

        def forward(self, x: Tensor) -> Any:
            return self.conv(self.get_graph_feature(x)).max(dim=-1)[0]

    for kind in (Own, TwiceQualified):
        model = kind()
        with pytest.warns(UserWarning, match="nothing was fused, because no forward in .* calls get_graph_feature"):
            dgcnn.fuse_edge_convs(model)
        assert type(model) is kind
        model(torch.randn(2, 3, 16))


class OnAGpu(Plain):
    def forward(self, x: Tensor) -> Any:
        return self.conv(util.on_a_gpu(x, k=4)).max(dim=-1)[0]


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what to do where there is no GPU")
def test_code_for_a_gpu_without_one_says_what_to_do() -> None:
    model = OnAGpu()
    with pytest.warns(UserWarning, match='it moves tensors to "cuda", and there is none here; write `device = x.devi'):
        dgcnn.fuse_edge_convs(model, graph_feature="on_a_gpu")
    assert type(model) is OnAGpu
    assert dgcnn.fused_edge_convs(model) == []


def test_arguments_of_a_wrong_type() -> None:
    for function in (dgcnn.fused_edge_convs, dgcnn.unfuse_edge_convs):
        with pytest.raises(TypeError, match=r"model must be a torch\.nn\.Module, got str"):
            function("model")  # type: ignore[arg-type]
