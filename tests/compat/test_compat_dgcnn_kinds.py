"""What happens to a fused model whose parts are exchanged, hooked, frozen or put into another mode afterwards.

Always what happens to the model that was not fused; and either it still runs fused, or unfused after one warning.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from model_util import get_graph_feature
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune

from pointkernels.compat import dgcnn
from pointkernels.compat._edge_features import EdgeConvBlock


def block(channels: int, outputs: int) -> nn.Sequential:
    norm = nn.BatchNorm2d(outputs)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    return nn.Sequential(nn.Conv2d(channels, outputs, 1, bias=False), norm, nn.LeakyReLU(0.2))


class One(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = block(6, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(get_graph_feature(x, k=4)).max(dim=-1)[0]


class OfAnyDtype(One):
    def forward(self, x: Tensor) -> Tensor:
        return self.conv(dgcnn.get_graph_feature(x, k=4)).max(dim=-1)[0]


class First(nn.Module):
    """Two convolutions; what happens, happens to the first."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.other = block(6, 8), block(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.other(self.conv(get_graph_feature(x, k=4))).max(dim=-1)[0]


class Second(nn.Module):
    """Two convolutions; what happens, happens to the second."""

    def __init__(self) -> None:
        super().__init__()
        self.other, self.conv = block(6, 8), block(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.other(get_graph_feature(x, k=4))).max(dim=-1)[0]


class LoRA(nn.Module):
    """As peft has it: the layer in a wrapper, and a product of low rank beside it."""

    def __init__(self, base: nn.Conv2d) -> None:
        super().__init__()
        self.base_layer = base
        self.a = nn.Conv2d(base.in_channels, 2, 1, bias=False)
        self.b = nn.Conv2d(2, base.out_channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.base_layer(x) + self.b(self.a(x))


class LoRASubclass(nn.Conv2d):
    """As loralib has it: a convolution that is a Conv2d."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + x[:, :1]


class Doubled(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return 2 * weight


def exchange(place: int, make: Callable[[nn.Module], nn.Module]) -> Callable[[nn.Sequential], None]:
    def alter(conv: nn.Sequential) -> None:
        torch.manual_seed(3)
        conv[place] = make(conv[place]).to(torch.float64)

    return alter


def lora_subclass(conv: nn.Module) -> nn.Module:
    assert isinstance(conv, nn.Conv2d)
    lora = LoRASubclass(conv.in_channels, conv.out_channels, 1, bias=False)
    lora.load_state_dict(conv.state_dict())
    return lora


def own_forward(conv: nn.Sequential) -> None:
    usual = conv[0].forward
    conv[0].forward = lambda x: usual(x) + 1  # type: ignore[method-assign, assignment]


def frozen(*places: int) -> Callable[[nn.Sequential], None]:
    def alter(conv: nn.Sequential) -> None:
        for place in places:
            conv[place].requires_grad_(False)

    return alter


def assigned(place: int, **values: Any) -> Callable[[nn.Sequential], None]:
    def alter(conv: nn.Sequential) -> None:
        for name, value in values.items():
            setattr(conv[place], name, value)

    return alter


def no_statistics(conv: nn.Sequential) -> None:
    norm = conv[1]
    norm.track_running_stats, norm.running_mean, norm.running_var = False, None, None  # type: ignore[assignment]
    norm.num_batches_tracked = None  # type: ignore[assignment]


def with_bias(conv: nn.Sequential) -> None:
    conv[0].bias = nn.Parameter(torch.ones(8, dtype=torch.float64))


def parametrized(conv: nn.Sequential) -> None:
    parametrize.register_parametrization(conv[0], "weight", Doubled())


FUSED, UNFUSED = "fused", "unfused, one warning"
Alter = Callable[[nn.Sequential], Any]
KINDS: dict[str, tuple[Alter, str]] = {
    "nothing": (lambda conv: None, FUSED),
    # exchanged
    "convolution: LoRA, a wrapper": (exchange(0, LoRA), UNFUSED),  # type: ignore[arg-type]
    "convolution: LoRA, a subclass": (exchange(0, lora_subclass), UNFUSED),
    "convolution: with groups and a bias": (
        exchange(0, lambda conv: nn.Conv2d(conv.in_channels, 8, 1, groups=2)),
        UNFUSED,
    ),  # type: ignore[arg-type]
    "convolution: another plain one": (
        exchange(0, lambda conv: nn.Conv2d(conv.in_channels, 8, 1, bias=False)),  # type: ignore[arg-type]
        FUSED,
    ),
    "convolution: with a bias": (with_bias, UNFUSED),
    "BatchNorm: Identity": (exchange(1, lambda norm: nn.Identity()), UNFUSED),
    "BatchNorm: GroupNorm": (exchange(1, lambda norm: nn.GroupNorm(2, 8)), UNFUSED),
    "BatchNorm: InstanceNorm": (exchange(1, lambda norm: nn.InstanceNorm2d(8)), UNFUSED),
    "BatchNorm: without weight": (exchange(1, lambda norm: nn.BatchNorm2d(8, affine=False)), UNFUSED),
    "BatchNorm: SyncBatchNorm, one process": (exchange(1, nn.SyncBatchNorm.convert_sync_batchnorm), FUSED),
    "activation: GELU": (exchange(2, lambda activation: nn.GELU()), UNFUSED),
    "activation: Identity": (exchange(2, lambda activation: nn.Identity()), UNFUSED),
    "activation: ReLU": (exchange(2, lambda activation: nn.ReLU()), FUSED),
    "activation: another slope": (assigned(2, negative_slope=0.7), FUSED),
    "activation: a negative slope": (assigned(2, negative_slope=-0.5), UNFUSED),
    "a part more": (lambda conv: conv.append(nn.Softplus()), UNFUSED),
    "a part less": (lambda conv: conv.pop(2), UNFUSED),
    # hooked
    "forward hook": (lambda conv: conv[0].register_forward_hook(lambda module, args, out: 2 * out), UNFUSED),
    "forward pre-hook": (lambda conv: conv[1].register_forward_pre_hook(lambda module, args: 2 * args[0]), UNFUSED),
    "full backward hook": (
        lambda conv: conv[2].register_full_backward_hook(lambda module, grads, out: (2 * grads[0],)),
        UNFUSED,
    ),
    "full backward pre-hook": (
        lambda conv: conv[1].register_full_backward_pre_hook(lambda module, out: (3 * out[0],)),
        UNFUSED,
    ),
    "full backward hook of the block": (
        lambda conv: conv.register_full_backward_hook(lambda module, grads, out: (2 * grads[0],)),
        UNFUSED,
    ),
    "full backward pre-hook of the block": (
        lambda conv: conv.register_full_backward_pre_hook(lambda module, out: (3 * out[0],)),
        UNFUSED,
    ),
    "forward hook of the block": (
        lambda conv: conv.register_forward_hook(lambda module, args, out: 2 * out),
        UNFUSED,
    ),
    "a forward of its own": (own_forward, UNFUSED),
    "weight_norm by a hook": (lambda conv: nn.utils.weight_norm(conv[0]), UNFUSED),
    "spectral_norm by a hook": (lambda conv: nn.utils.spectral_norm(conv[0]).eval(), UNFUSED),
    "prune": (lambda conv: prune.l1_unstructured(conv[0], "weight", 0.5), UNFUSED),
    "parametrization of the convolution": (parametrized, FUSED),
    "weight_norm, a parametrization": (lambda conv: parametrizations.weight_norm(conv[0]), FUSED),
    "parametrization of BatchNorm": (
        lambda conv: parametrize.register_parametrization(conv[1], "weight", Doubled()),
        UNFUSED,
    ),
    # frozen, and modes
    "convolution frozen": (frozen(0), FUSED),
    "BatchNorm frozen": (frozen(1), FUSED),
    "all frozen": (frozen(0, 1), FUSED),
    "BatchNorm in evaluation": (lambda conv: conv[1].eval(), FUSED),
    "convolution in evaluation": (lambda conv: conv[0].eval(), FUSED),
    "block in evaluation": (lambda conv: conv.eval(), FUSED),
    "track_running_stats=False": (assigned(1, track_running_stats=False), FUSED),
    "no running statistics": (no_statistics, FUSED),
    "momentum=None": (assigned(1, momentum=None), FUSED),
    "another momentum and eps": (assigned(1, momentum=0.4, eps=0.3), FUSED),
}


def trained(model: nn.Module, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """Two steps: outputs, gradients, and what the model holds afterwards."""
    results: list[Tensor] = []
    for step in range(2):
        x = torch.randn(2, 3, 16, dtype=dtype, generator=torch.Generator().manual_seed(step)).requires_grad_()
        output = model(x)
        output.square().mean().backward()
        results += [output.detach(), x.grad]  # type: ignore[list-item]
    results += [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    return results + [buffer for buffer in model.buffers() if buffer is not None]


@pytest.mark.parametrize("network", [One, First, Second])
@pytest.mark.parametrize("kind", KINDS)
def test_what_happens(kind: str, network: type[nn.Module]) -> None:
    alter, what = KINDS[kind]
    torch.manual_seed(0)
    usual = network().double()
    model = dgcnn.fuse_edge_convs(copy.deepcopy(usual))
    blocks = ["conv"] if network is One else [name for name, _ in model.named_children()]
    assert dgcnn.fused_edge_convs(model) == blocks
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for each in (usual, model):
            torch.manual_seed(5)
            alter(each.conv)  # type: ignore[arg-type]
    expected = trained(usual)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        got = trained(model)
    assert len(got) == len(expected)
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b)
    messages = [str(warning.message) for warning in caught]
    assert [("prepared by fuse_edge_convs" in message) for message in messages] == [True] * (what == UNFUSED), messages
    if what == UNFUSED:
        assert "ran unfused" in messages[0] or "ran as before, unfused" in messages[0]
    assert dgcnn.fused_edge_convs(model) == (blocks if what == FUSED else [])
    assert type(dgcnn.unfuse_edge_convs(model).conv) is nn.Sequential


DTYPES: dict[str, tuple[torch.dtype, torch.dtype, torch.dtype, str]] = {  # of the input, convolution and BatchNorm
    "all bfloat16": (torch.bfloat16, torch.bfloat16, torch.bfloat16, FUSED),
    "BatchNorm in float32 after bfloat16": (torch.bfloat16, torch.bfloat16, torch.float32, FUSED),
    "BatchNorm in float64 after float32": (torch.float32, torch.float32, torch.float64, "as the modules say"),
    "convolution of another dtype": (torch.float32, torch.float64, torch.float64, "as the modules say"),
    "input of another dtype": (torch.float64, torch.float32, torch.float32, "as the modules say"),
}


@pytest.mark.parametrize("kind", DTYPES)
def test_mixed_dtypes(kind: str) -> None:
    dtype, of_conv, of_norm, what = DTYPES[kind]
    usual = OfAnyDtype()
    usual.conv[0].to(of_conv)
    usual.conv[1].to(of_norm)
    model = dgcnn.fuse_edge_convs(copy.deepcopy(usual))
    x = torch.randn(2, 3, 16).to(dtype)
    if what == FUSED:
        torch.testing.assert_close(model(x), usual(x), rtol=0.05, atol=0.1)
        assert dgcnn.fused_edge_convs(model) == ["conv"]
        return
    with pytest.raises((RuntimeError, ValueError)) as expected:
        usual(x)
    with pytest.warns(UserWarning, match="of several dtypes"), pytest.raises(expected.type) as got:
        model(x)
    assert str(got.value) == str(expected.value)
    assert dgcnn.fused_edge_convs(model) == []


def test_what_changes_back_is_fused_again() -> None:
    model, x = dgcnn.fuse_edge_convs(First()), torch.randn(2, 3, 16)
    handle = model.conv[0].register_forward_hook(lambda *_: None)
    with pytest.warns(
        UserWarning, match="has a hook or a forward of its own, which would not be called, so it ran unf"
    ):
        model(x)
    assert dgcnn.fused_edge_convs(model) == []
    handle.remove()
    model(x)
    assert dgcnn.fused_edge_convs(model) == ["conv", "other"]
    assert isinstance(model.conv, EdgeConvBlock)


def test_a_block_that_does_not_fit_any_more_is_not_named_before_a_call() -> None:
    model = dgcnn.fuse_edge_convs(First())
    model.other[2] = nn.GELU()
    assert dgcnn.fused_edge_convs(model) == ["conv"]
