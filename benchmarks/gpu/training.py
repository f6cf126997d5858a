"""A training step of DGCNN: this project's layers against the layers as DGCNN's code writes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from harness import memory, timing
from harness.contenders import Contender
from peers.edgeconv import Convolution, dgcnn_layer
from peers.knn import matmul_topk
from torch import Tensor, nn
from torch.nn import functional as F

from gpu.operators import Plan, full_float32
from pointkernels.nn import EdgeConv

WIDTHS = (64, 64, 128, 256)
EMBEDDING = 1024
CLASSES = 40
SLOPE = 0.2


class PlainEdgeConv(nn.Module):
    """The layer with a matrix of distances and a tensor of edges, with the weights of a fused one."""

    def __init__(self, fused: EdgeConv) -> None:
        super().__init__()
        self.conv, self.bn = fused.to_conv_bn()
        self.k = fused.k

    def forward(self, features: Tensor) -> Tensor:
        """(B, N, C) -> (B, N, C')."""
        x = features.transpose(1, 2).contiguous()
        batch, _, count = x.shape
        rows = matmul_topk(x, self.k) + torch.arange(batch, device=x.device)[:, None, None] * count
        bn = self.bn
        convolution = Convolution(self.conv.weight, bn.weight, bn.bias, bn.running_mean, bn.running_var)
        return dgcnn_layer(x, rows, [convolution]).transpose(1, 2)


class Classifier(nn.Module):
    """The classification network of DGCNN up to one linear layer behind the pooling."""

    def __init__(self, layers: list[nn.Module], widths: tuple[int, ...], embedding: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.embed = nn.Linear(sum(widths), embedding, bias=False)
        self.norm = nn.BatchNorm1d(embedding)
        self.head = nn.Linear(2 * embedding, CLASSES)

    def forward(self, points: Tensor) -> Tensor:
        """(B, N, 3) -> (B, CLASSES)."""
        outputs, features = [], points
        for layer in self.layers:
            features = layer(features)
            outputs.append(features)
        embedded = self.norm(self.embed(torch.cat(outputs, dim=2)).flatten(0, 1)).unflatten(0, points.shape[:2])
        embedded = F.leaky_relu(embedded, SLOPE)
        return self.head(torch.cat([embedded.amax(dim=1), embedded.mean(dim=1)], dim=1))


def pair(k: int, widths: tuple[int, ...], embedding: int, device: str) -> tuple[Classifier, Classifier]:
    """The network on our layers and on plain ones, with the same weights."""
    torch.manual_seed(0)
    fused = [EdgeConv(c, o, k=k, negative_slope=SLOPE) for c, o in zip((3, *widths[:-1]), widths, strict=True)]
    ours = Classifier(list(fused), widths, embedding)
    plain = Classifier([PlainEdgeConv(layer) for layer in fused], widths, embedding)
    for name in ("embed", "norm", "head"):
        getattr(plain, name).load_state_dict(getattr(ours, name).state_dict())
    return ours.to(device), plain.to(device)


def step_of(network: nn.Module, points: Tensor, labels: Tensor) -> Callable[[], Tensor]:
    """One step of stochastic gradient descent; returns the loss before it."""
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9)

    def step() -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        loss = F.cross_entropy(network(points), labels)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def measure(plan: Plan) -> dict[str, Any]:
    """Time and memory of a step of both networks, and how far apart their first losses are."""
    cuda = plan.settings.device == "cuda"
    batch, count, k = (32, 1024, 20) if cuda else (2, 64, 5)
    widths, embedding = (WIDTHS, EMBEDDING) if cuda else ((8, 16), 32)
    device = plan.settings.device
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(batch, count, 3, generator=generator).to(device)
    labels = torch.randint(0, CLASSES, (batch,), generator=generator).to(device)
    networks = dict(zip(("pointkernels", "plain PyTorch"), pair(k, widths, embedding, device), strict=True))
    steps = {name: step_of(network, points, labels) for name, network in networks.items()}
    result: dict[str, Any] = {
        "shape": f"{batch} clouds of {count} points, k = {k}, widths {widths}, embedding {embedding}", "rows": [],
    }  # fmt: skip
    with full_float32():
        losses = {name: float(step()) for name, step in steps.items()}
    # Rounding swaps some neighbours of nearly equal distance, so the two are not the same network bit for bit.
    result["losses"] = losses
    result["losses_agree"] = abs(losses["pointkernels"] - losses["plain PyTorch"]) <= 2e-2 * abs(losses["pointkernels"])
    contenders = [Contender(name, step) for name, step in steps.items()]
    for name, times in timing.interleave(contenders, plan.clock, plan.budget).items():
        spread = timing.quartiles(list(times.first.values()))
        row = {"contender": name, "call": [spread.lower, spread.median, spread.upper]}
        if cuda:
            row["peak_memory"] = memory.peak_of_cuda(steps[name])
        result["rows"].append(row)
    return result
