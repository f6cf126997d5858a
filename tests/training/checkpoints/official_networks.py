"""The networks of other projects, written plainly: their weights' names and shapes, and what they compute.

A rendition takes a state dict with the project's own names and runs it with nothing but convolutions, batch
normalisation, and a neighbour search by sorting all distances.
"""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

State = dict[str, Tensor]

_NORM = ("weight", "bias", "running_mean", "running_var")


# Names and shapes


def _norm(name: str, channels: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    for part in _NORM:
        yield f"{name}.{part}", (channels,)
    yield f"{name}.num_batches_tracked", ()


def _conv(number: str, shape: tuple[int, ...], *, twice: bool = True) -> Iterator[tuple[str, tuple[int, ...]]]:
    """A Sequential of convolution and BatchNorm, the latter registered under a second name too."""
    prefix, _, digits = number.rpartition("conv")
    yield f"{number}.0.weight", shape
    yield from _norm(f"{number}.1", shape[0])
    if twice:
        yield from _norm(f"{prefix}bn{digits}", shape[0])


def _inv_head(incoming: int, hidden: int, *, bias: bool = True) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield "inv_head.0.weight", (hidden, incoming)
    yield from _norm("inv_head.1", hidden)
    yield "inv_head.3.weight", (256, hidden)
    if bias:
        yield "inv_head.0.bias", (hidden,)
        yield "inv_head.3.bias", (256,)


def dgcnn_shapes(*, classes: int = 0, head: bool = False, embedding: int = 32) -> Iterator[tuple[str, tuple[int, ...]]]:
    widths = (3, 64, 64, 128, 256)
    for number in range(1, 5):
        yield from _conv(f"conv{number}", (widths[number], 2 * widths[number - 1], 1, 1))
    yield from _conv("conv5", (embedding, 512, 1))
    if classes:
        yield "linear1.weight", (512, 2 * embedding)
        yield from _norm("bn6", 512)
        yield "linear2.weight", (256, 512)
        yield "linear2.bias", (256,)
        yield from _norm("bn7", 256)
        yield "linear3.weight", (classes, 256)
        yield "linear3.bias", (classes,)
    if head:
        yield from _inv_head(2 * embedding, embedding)


def _stages(channels: int, embedding: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    for number, shape in enumerate([(64, 2 * channels), (64, 64), (64, 128), (64, 64), (64, 128)], start=1):
        yield from _conv(f"conv{number}", (*shape, 1, 1))
    yield from _conv("conv6", (embedding, 192, 1))


def partseg_shapes(
    *, categories: int = 0, parts: int = 0, head: bool = False, embedding: int = 32
) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield from _conv("transform_net.conv1", (64, 6, 1, 1))
    yield from _conv("transform_net.conv2", (128, 64, 1, 1))
    yield from _conv("transform_net.conv3", (1024, 128, 1), twice=False)
    yield "transform_net.linear1.weight", (512, 1024)
    yield from _norm("transform_net.bn3", 512)
    yield "transform_net.linear2.weight", (256, 512)
    yield from _norm("transform_net.bn4", 256)
    yield "transform_net.transform.weight", (9, 256)
    yield "transform_net.transform.bias", (9,)
    yield from _stages(3, embedding)
    if parts:
        yield from _conv("conv7", (64, categories, 1))
        yield from _conv("conv8", (256, embedding + 64 + 192, 1))
        yield from _conv("conv9", (256, 256, 1))
        yield from _conv("conv10", (128, 256, 1))
        yield "conv11.weight", (parts, 128, 1)
    if head:
        yield from _inv_head(embedding, embedding)


def semseg_shapes(*, classes: int = 13, embedding: int = 32) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield from _stages(9, embedding)
    yield from _conv("conv7", (512, embedding + 192, 1))
    yield from _conv("conv8", (256, 512, 1))
    yield "conv9.weight", (classes, 256, 1)


def pointnet_shapes(*, classes: int = 5, embedding: int = 32) -> Iterator[tuple[str, tuple[int, ...]]]:
    widths = (3, 64, 64, 64, 128, embedding)
    for number in range(1, 6):
        yield f"feature_model.conv{number}.weight", (widths[number], widths[number - 1], 1)
        yield f"feature_model.conv{number}.bias", (widths[number],)
        yield from _norm(f"feature_model.bn{number}", widths[number])
    for number, (incoming, outgoing) in enumerate([(embedding, 512), (512, 256), (256, classes)], start=1):
        yield f"linear{number}.weight", (outgoing, incoming)
        yield f"linear{number}.bias", (outgoing,)
        if number < 3:
            yield from _norm(f"bn{number}", outgoing)


def resnet_shapes(blocks: tuple[int, ...], *, bottleneck: bool, width: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield "resnet.conv1.weight", (width, 3, 7, 7)
    yield from _norm("resnet.bn1", width)
    expansion = 4 if bottleneck else 1
    incoming = width
    for stage, count in enumerate(blocks):
        inner = width * 2**stage
        for block in range(count):
            at = f"resnet.layer{stage + 1}.{block}"
            kernels = (1, 3, 1) if bottleneck else (3, 3)
            sizes = (incoming, inner, inner, inner * expansion) if bottleneck else (incoming, inner, inner)
            for number, kernel in enumerate(kernels):
                yield f"{at}.conv{number + 1}.weight", (sizes[number + 1], sizes[number], kernel, kernel)
                yield from _norm(f"{at}.bn{number + 1}", sizes[number + 1])
            if incoming != inner * expansion or (stage > 0 and block == 0):
                yield f"{at}.downsample.0.weight", (inner * expansion, incoming, 1, 1)
                yield from _norm(f"{at}.downsample.1", inner * expansion)
            incoming = inner * expansion
    yield from _inv_head(incoming, 16, bias=False)


def random_state(shapes: Iterator[tuple[str, tuple[int, ...]]], seed: int = 0) -> State:
    """Random weights that keep activations at a size of about one, second names holding the same values."""
    generator = torch.Generator().manual_seed(seed)
    state: State = {}
    for name, shape in shapes:
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(7)
        elif name.endswith("running_var"):
            state[name] = 0.5 + torch.rand(shape, generator=generator)
        elif len(shape) == 1:
            state[name] = 0.3 * torch.randn(shape, generator=generator) + (1.0 if name.endswith("weight") else 0.0)
        else:
            fan = torch.tensor(shape[1:]).prod()
            state[name] = torch.randn(shape, generator=generator) / fan.sqrt()
    for name in state:
        before, _, rest = name.rpartition("bn")
        digits, _, part = rest.partition(".")
        first = f"{before}conv{digits}.1.{part}"
        if first in state and state[first].shape == state[name].shape:
            state[name] = state[first].clone()
    return state


# What the networks compute


def _norm_eval(state: State, name: str, x: Tensor) -> Tensor:
    weight, bias, mean, var = (state[f"{name}.{part}"] for part in _NORM)
    return F.batch_norm(x, mean, var, weight, bias, training=False)


def _block(state: State, name: str, x: Tensor) -> Tensor:
    convolution = F.conv2d if x.dim() == 4 else F.conv1d
    return F.leaky_relu(_norm_eval(state, f"{name}.1", convolution(x, state[f"{name}.0.weight"])), 0.2)


def _edges(x: Tensor, k: int, coordinates: slice = slice(None)) -> Tensor:
    """Edge features [x_j - x_i, x_i] of channels-first points: (B, 2 C, N, k)."""
    rows = x.transpose(1, 2)
    position = rows[..., coordinates]
    distances = (position.unsqueeze(1) - position.unsqueeze(2)).square().sum(dim=3)
    neighbors = distances.argsort(dim=2, stable=True)[..., :k]
    near = torch.stack([cloud[index] for cloud, index in zip(rows, neighbors, strict=True)])
    own = rows.unsqueeze(2).expand_as(near)
    return torch.cat([near - own, own], dim=3).permute(0, 3, 1, 2)


def _linear(state: State, name: str, x: Tensor) -> Tensor:
    return F.linear(x, state[f"{name}.weight"], state.get(f"{name}.bias"))


def run_inv_head(state: State, features: Tensor) -> Tensor:
    hidden = F.relu(_norm_eval(state, "inv_head.1", _linear(state, "inv_head.0", features)))
    return _linear(state, "inv_head.3", hidden)


def run_dgcnn(state: State, points: Tensor, k: int) -> Tensor:
    """Logits (B, K) of the classifier, or features where there is none; points (B, N, 3)."""
    x, outputs = points.transpose(1, 2), []
    for number in range(1, 5):
        x = _block(state, f"conv{number}", _edges(x, k)).amax(dim=3)
        outputs.append(x)
    x = _block(state, "conv5", torch.cat(outputs, dim=1))
    x = torch.cat([x.amax(dim=2), x.mean(dim=2)], dim=1)
    if "linear3.weight" not in state:
        return x
    x = F.leaky_relu(_norm_eval(state, "bn6", _linear(state, "linear1", x)), 0.2)
    x = F.leaky_relu(_norm_eval(state, "bn7", _linear(state, "linear2", x)), 0.2)
    return _linear(state, "linear3", x)


def _run_stages(state: State, x: Tensor, k: int, coordinates: slice = slice(None)) -> tuple[Tensor, Tensor]:
    first = _block(state, "conv2", _block(state, "conv1", _edges(x, k, coordinates))).amax(dim=3)
    second = _block(state, "conv4", _block(state, "conv3", _edges(first, k))).amax(dim=3)
    third = _block(state, "conv5", _edges(second, k)).amax(dim=3)
    features = torch.cat([first, second, third], dim=1)
    return features, _block(state, "conv6", features).amax(dim=2, keepdim=True)


def run_partseg(state: State, points: Tensor, k: int, category: Tensor | None = None) -> Tensor:
    """Logits (B, N, parts), or the pooled features where there is no segmentation head."""
    net = {name.removeprefix("transform_net."): value for name, value in state.items() if "transform_net" in name}
    x = points.transpose(1, 2)
    t = _block(net, "conv2", _block(net, "conv1", _edges(x, k))).amax(dim=3)
    t = _block(net, "conv3", t).amax(dim=2)
    t = F.leaky_relu(_norm_eval(net, "bn3", _linear(net, "linear1", t)), 0.2)
    t = F.leaky_relu(_norm_eval(net, "bn4", _linear(net, "linear2", t)), 0.2)
    matrix = _linear(net, "transform", t).view(-1, 3, 3)
    features, pooled = _run_stages(state, (points @ matrix).transpose(1, 2), k)
    if category is None:
        return pooled.squeeze(2)
    one_hot = torch.eye(state["conv7.0.weight"].shape[1], dtype=points.dtype)[category].unsqueeze(2)
    cloud = torch.cat([pooled, _block(state, "conv7", one_hot)], dim=1).expand(-1, -1, points.shape[1])
    x = torch.cat([cloud, features], dim=1)
    for number in (8, 9, 10):
        x = _block(state, f"conv{number}", x)
    return F.conv1d(x, state["conv11.weight"]).transpose(1, 2)


def run_semseg(state: State, points: Tensor, k: int) -> Tensor:
    """Logits (B, N, classes); points (B, N, 9)."""
    features, pooled = _run_stages(state, points.transpose(1, 2), k, slice(6, 9))
    x = torch.cat([pooled.expand(-1, -1, points.shape[1]), features], dim=1)
    x = _block(state, "conv8", _block(state, "conv7", x))
    return F.conv1d(x, state["conv9.weight"]).transpose(1, 2)


def run_pointnet(state: State, points: Tensor) -> Tensor:
    """Logits (B, classes); points (B, N, 3)."""
    x = points.transpose(1, 2)
    for number in range(1, 6):
        name = f"feature_model.conv{number}"
        x = F.conv1d(x, state[f"{name}.weight"], state[f"{name}.bias"])
        x = F.relu(_norm_eval(state, f"feature_model.bn{number}", x))
    x = x.amax(dim=2)
    for number in (1, 2):
        x = F.relu(_norm_eval(state, f"bn{number}", _linear(state, f"linear{number}", x)))
    return _linear(state, "linear3", x)


def run_resnet(state: State, images: Tensor, blocks: tuple[int, ...]) -> Tensor:
    """Pooled features of torchvision's ResNet, whose stride is in the 3x3 convolution."""
    x = F.relu(_norm_eval(state, "resnet.bn1", F.conv2d(images, state["resnet.conv1.weight"], stride=2, padding=3)))
    x = F.max_pool2d(x, 3, stride=2, padding=1)
    for stage, count in enumerate(blocks):
        for block in range(count):
            at = f"resnet.layer{stage + 1}.{block}"
            stride = 2 if stage > 0 and block == 0 else 1
            layers = 3 if f"{at}.conv3.weight" in state else 2
            out = x
            for number in range(1, layers + 1):
                strided = number == (2 if layers == 3 else 1)
                weight = state[f"{at}.conv{number}.weight"]
                out = F.conv2d(out, weight, stride=stride if strided else 1, padding=weight.shape[2] // 2)
                out = _norm_eval(state, f"{at}.bn{number}", out)
                if number < layers:
                    out = F.relu(out)
            if f"{at}.downsample.0.weight" in state:
                x = F.conv2d(x, state[f"{at}.downsample.0.weight"], stride=stride)
                x = _norm_eval(state, f"{at}.downsample.1", x)
            x = F.relu(x + out)
    return x.mean(dim=(2, 3))
