"""A call of every differentiable operator with its gradients, for what must hold for all of them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

import pointkernels
from pointkernels.ops import edge_conv_two_layer_chunks as chunks
from pointkernels.ops import edge_conv_two_layer_chunks_backward as chunks_backward


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def with_gradients(result: Tensor, *inputs: Tensor) -> list[Tensor]:
    return [result.detach(), *torch.autograd.grad(result, inputs, torch.ones_like(result))]


def edge_conv(device: str, training: bool = True) -> list[Tensor]:
    features, weight = random(2, 30, 6).to(device).requires_grad_(), random(9, 12, seed=1).to(device).requires_grad_()
    vectors = [v.to(device).requires_grad_() for v in (random(9, seed=2), random(9, seed=3))]
    running = [random(9, seed=4).to(device), random(9, seed=5).square().to(device)]
    lists = pointkernels.knn(features, 5)
    output = pointkernels.edge_conv(features, lists, weight, *vectors, *running, training=training)
    return [*with_gradients(output, features, weight, *vectors), *running]


def edge_conv_two_layer(device: str) -> list[Tensor]:
    features = random(2, 30, 6).to(device).requires_grad_()
    layers = [
        pointkernels.EdgeLayer(
            random(*shape, seed=6).to(device), random(shape[0], seed=7).to(device), random(shape[0], seed=8).to(device)
        )
        for shape in ((8, 12), (7, 8))
    ]
    return with_gradients(pointkernels.edge_conv_two_layer(features, pointkernels.knn(features, 5), *layers), features)


def chunks_of_two_layers(device: str) -> list[Tensor]:
    """What CUDA runs for it."""
    lists = pointkernels.knn(random(2, 30, 6).to(device), 5).flatten(0, 1)
    given = [random(*shape, seed=9).to(device) for shape in ((60, 16), (8,), (8,), (7, 8), (8,), (7,), (7,))]
    nodes, bn_weight, bn_bias, weight, center, bn_weight2, bn_bias2 = given
    first = (nodes, lists, 30, bn_weight, bn_bias, None, None, 1e-5, 0.2)
    forward = chunks.forward(*first, weight, center, bn_weight2, bn_bias2, None, None, 1e-5, 0.2)
    output, mean, var, mean2, var2, count, deviation, slot = forward
    reverse = torch.ops.pointkernels._reverse_graph(lists, 30, 30, 60)
    backward = chunks_backward.backward(
        torch.ones_like(output), nodes, lists, 30, *reverse, bn_weight, bn_bias, mean, var, 1e-5, 0.2, weight, center,
        bn_weight2, bn_bias2, mean2, var2, 1e-5, 0.2, count, deviation, slot, False, False,
    )  # fmt: skip
    return [*forward, *backward]


def linear(device: str) -> list[Tensor]:
    x, weight = random(40, 6).to(device).requires_grad_(), random(5, 6, seed=1).to(device).requires_grad_()
    return with_gradients(pointkernels.linear(x, weight, random(5, seed=2).to(device)), x, weight)


def searches(device: str) -> list[Tensor]:
    points = random(2, 40, 24).to(device).requires_grad_()
    distances, indices = pointkernels.knn(points, 6, return_distance=True)
    chamfer = pointkernels.chamfer_distance(points, points.detach() * 1.5)
    gathered = pointkernels.gather_neighbors(points, indices)
    weighted = pointkernels.gather_weighted(points, indices, distances)
    loss = distances.sum() + chamfer.sum() + gathered.sum() + weighted.sum()
    sampled = pointkernels.farthest_point_sampling(points.detach(), 8)
    return [indices, sampled, pointkernels.ball_query(points.detach(), 5.0, 5), *with_gradients(loss, points)]


CALLS: dict[str, Callable[[str], list[Tensor]]] = {
    "edge_conv in training": edge_conv,
    "edge_conv in evaluation": lambda device: edge_conv(device, training=False),
    "edge_conv_two_layer": edge_conv_two_layer,
    "its chunks": chunks_of_two_layers,
    "linear": linear,
    "searches": searches,
}
