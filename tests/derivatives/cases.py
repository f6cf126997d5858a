"""Calls of every operator and every face as functions of float64 tensors, for tests of their derivatives.

Inputs are hard where that leaves them smooth: holes, ragged and empty clouds, more neighbours than points, duplicates.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

import pointkernels
from pointkernels.compat import dgcnn, pointnet2, pytorch3d

OPERATORS = torch.ops.pointkernels
HOLES = torch.tensor([[[1, 0, 4], [3, -1, 1], [-1, -1, -1], [4, 4, 2], [0, 2, -1]]] * 2)  # row 2 has no neighbours
HOLES[1, 0], HOLES[1, 4] = torch.tensor([2, 2, 3]), -1
LISTS = HOLES.flatten(0, 1)
LENGTHS = torch.tensor([5, 0, 3])
EXTENTS = torch.tensor([[0, 4], [4, 0], [5, 5]])
SLOPE = (1e-3, 0.2)  # eps and LeakyReLU's


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@dataclass(frozen=True)
class Case:
    """A function that is smooth at its inputs."""

    function: Callable[..., Any]
    inputs: tuple[Tensor, ...]
    same_bits: bool = True  # whether forward mode leaves the values as they are


def finite(result: tuple[Tensor, Tensor]) -> Tensor:
    """The distances of a search; those of places without a neighbour are infinite, which no difference can follow."""
    distances, indices = result
    return torch.where(indices >= 0, distances, 0)


def duplicates() -> Tensor:
    points = random(2, 5, 2)
    points[0, 3] = points[0, 1]
    points[1] = points[1, :1]
    return points


def search(name: str, *rest: Any, extents: Tensor | None = None, with_query: bool = False) -> Callable[..., Any]:
    def call(points: Tensor, query: Tensor | None = None) -> Tensor:
        return finite(getattr(OPERATORS, name)(points, extents, query, None, 3 if extents is not None else 2, *rest))

    return call


def statistics(*names: int, seed: int) -> tuple[Tensor, ...]:
    return tuple(random(n, seed=seed + place).square() + 0.3 for place, n in enumerate(names))


def edge_conv(given: bool) -> Case:
    inputs = (random(10, 4), *statistics(2, 2, seed=1), *(statistics(2, 2, seed=4) if given else ()))

    def call(nodes: Tensor, weight: Tensor, bias: Tensor, mean: Any = None, var: Any = None) -> Tensor:
        return OPERATORS.edge_conv(nodes, LISTS, 5, weight, bias, mean, var, *SLOPE)[0]

    return Case(call, inputs)


def edge_conv_of_clouds(given: bool) -> Case:
    inputs = (random(2, 5, 3), random(2, 6, seed=7), *statistics(2, 2, seed=1))
    inputs = (*inputs, *(statistics(2, 2, seed=4) if given else ()))

    def call(x: Tensor, w: Tensor, weight: Tensor, bias: Tensor, mean: Any = None, var: Any = None) -> Tensor:
        return OPERATORS._edge_conv_of_clouds(x, w, HOLES, weight, bias, mean, var, *SLOPE)[0]

    return Case(call, inputs)


def edge_conv_two_layer(given: bool) -> Case:
    inputs = (random(10, 4), *statistics(2, 2, seed=1), random(3, 2, seed=9), *statistics(3, 3, seed=11))
    inputs = (*inputs, *(statistics(2, 2, 3, 3, seed=14) if given else ()))
    center = random(2, seed=19)

    def call(nodes: Tensor, *v: Tensor) -> Tensor:
        weight, bias, w, weight2, bias2, mean, var, mean2, var2 = (*v, *([None] * (9 - len(v))))
        first = (nodes, LISTS, 5, weight, bias, mean, var, *SLOPE)
        return OPERATORS.edge_conv_two_layer(*first, w, center, weight2, bias2, mean2, var2, *SLOPE)[0]

    return Case(call, inputs)


def gradient(case: Case) -> Case:
    """The gradient as a function of the incoming one and the inputs, by which a backward operator is called."""
    result = case.function(*case.inputs)

    def call(grad: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
        grads = torch.func.vjp(case.function, *inputs)[1](grad)
        # gradgradcheck loses count of results that an input has no part in, as BatchNorm's bias has in some.
        return tuple(g + x.square() for g, x in zip(grads, inputs, strict=True))

    # Forward over reverse takes the gradient of the formulas.
    return Case(call, (random(*result.shape, seed=21), *case.inputs), same_bits=False)


def knn_backward(grad: Tensor, points: Tensor, query: Tensor) -> tuple[Tensor, ...]:
    graph = LISTS, 5, 5
    return tuple(OPERATORS._knn_backward(grad, points, query, *graph, *OPERATORS._reverse_graph(*graph, 10)))


def sum_over_edges(per_row: int) -> Callable[..., Tensor]:
    def call(grad: Tensor, weights: Tensor | None = None) -> Tensor:
        return OPERATORS._sum_over_edges(grad, weights, *OPERATORS._reverse_graph(LISTS, 5, 5, 10), per_row)

    return call


# By the name of the operator; a second name tells calls of one operator apart.
OF_OPERATORS: dict[str, Case] = {
    "pointkernels::knn": Case(search("knn", 3, True), (random(10, 2),)),
    "pointkernels::knn, all of a ragged batch": Case(search("knn", 6, True, extents=EXTENTS), (random(10, 2),)),
    "pointkernels::knn, others": Case(search("knn", 5, True), (random(10, 2), random(6, 2, seed=1))),
    "pointkernels::knn, without self": Case(search("knn", 2, False), (random(10, 2),)),
    "pointkernels::_knn_backward": Case(knn_backward, (random(10, 3), random(10, 2), random(10, 2, seed=1))),
    "pointkernels::ball_query": Case(search("ball_query", 4.0, 4, True), (random(10, 2),)),
    "pointkernels::ball_query, duplicates": Case(search("ball_query", 99.0, 4, True), (duplicates().flatten(0, 1),)),
    "pointkernels::ball_query, ragged": Case(search("ball_query", 9.0, 9, False, extents=EXTENTS), (random(10, 2),)),
    "pointkernels::gather_neighbors": Case(lambda x: OPERATORS.gather_neighbors(x, LISTS, 5, 5), (random(10, 2),)),
    "pointkernels::gather_weighted": Case(
        lambda x, w: OPERATORS.gather_weighted(x, LISTS, w, 5, 5), (random(10, 2), random(10, 3))
    ),
    "pointkernels::_sum_over_edges": Case(sum_over_edges(1), (random(30, 2),)),
    "pointkernels::_sum_over_edges, weighted": Case(sum_over_edges(3), (random(10, 2), random(10, 3))),
    "pointkernels::_edge_products": Case(
        lambda grad, x: OPERATORS._edge_products(grad, x, LISTS, 5, 5), (random(10, 2), random(10, 2))
    ),
    "pointkernels::_linear": Case(lambda x, w: OPERATORS._linear(x, w), (random(5, 3), random(2, 3))),
    "pointkernels::_linear, empty": Case(lambda x, w: OPERATORS._linear(x, w), (random(0, 3), random(2, 3))),
    "pointkernels::_linear_backward": Case(
        lambda *tensors: OPERATORS._linear_backward(*tensors, True, True), (random(5, 2), random(5, 3), random(2, 3))
    ),
    "pointkernels::_linear_backward, one": Case(
        lambda *tensors: OPERATORS._linear_backward(*tensors, False, True)[1],
        (random(5, 2), random(5, 3), random(2, 3)),
    ),
    # The mean that is taken off counts as a constant, so that differences must not see it.
    "pointkernels::_center_rows": Case(
        lambda x: OPERATORS._center_rows(x - x.mean(dim=0), torch.ones(5, dtype=torch.bool))[0], (random(5, 3),)
    ),
    "pointkernels::edge_conv": edge_conv(given=False),
    "pointkernels::edge_conv, given": edge_conv(given=True),
    "pointkernels::_edge_conv_of_clouds": edge_conv_of_clouds(given=False),
    "pointkernels::_edge_conv_of_clouds, given": edge_conv_of_clouds(given=True),
    "pointkernels::edge_conv_two_layer": edge_conv_two_layer(given=False),
    "pointkernels::edge_conv_two_layer, given": edge_conv_two_layer(given=True),
    "pointkernels::_edge_conv_backward": gradient(edge_conv(given=False)),
    "pointkernels::_edge_conv_backward, given": gradient(edge_conv(given=True)),
    "pointkernels::_edge_conv_of_clouds_backward": gradient(edge_conv_of_clouds(given=False)),
    "pointkernels::_edge_conv_of_clouds_backward, given": gradient(edge_conv_of_clouds(given=True)),
    "pointkernels::_edge_conv_two_layer_backward": gradient(edge_conv_two_layer(given=False)),
    "pointkernels::_edge_conv_two_layer_backward, given": gradient(edge_conv_two_layer(given=True)),
}

# Operators whose results are integers, as functions of a tensor.
INTEGERS: dict[str, Callable[[Tensor], Tensor]] = {
    "pointkernels::farthest_point_sampling": lambda x: OPERATORS.farthest_point_sampling(
        x, None, torch.tensor([1, 2]), 2, 4
    ),
    "pointkernels::_reverse_graph": lambda x: OPERATORS._reverse_graph((x[:, :1] * 2).long().clamp(-1, 4), 5, 5, 10)[0],
    "pointkernels::_used_rows": lambda x: OPERATORS._used_rows((x * 2).long().clamp(-1, 4), 5),
}
# Integers of lengths that depend on values, so torch.vmap has no rule for them.
PACKED = {"knn_edges", "radius_edges", "fps_rows", "nearest_rows", "nearest_in_l1"}
IN_PLACE = {"pointkernels::_update_running_statistics"}


def layer(training: bool) -> Callable[..., Tensor]:
    def call(features: Tensor, weight: Tensor, bn_weight: Tensor, bn_bias: Tensor) -> Tensor:
        running = (None, None) if training else (torch.zeros(2).double(), torch.ones(2).double())
        return pointkernels.edge_conv(features, HOLES, weight, bn_weight, bn_bias, *running, training=training)

    return call


def two_layers(training: bool) -> Callable[..., Tensor]:
    def call(features: Tensor, *parameters: Tensor) -> Tensor:
        layers = []
        for place in (0, 3):
            size = len(parameters[place])
            running = (None, None) if training else (torch.zeros(size).double(), torch.ones(size).double())
            layers.append(pointkernels.EdgeLayer(*parameters[place : place + 3], *running, training=training))
        return pointkernels.edge_conv_two_layer(features, HOLES, *layers)

    return call


ONE = (random(2, 5, 3), random(2, 6, seed=1), *statistics(2, 2, seed=2))
TWO = (*ONE, random(3, 2, seed=4), *statistics(3, 3, seed=5))
CLOUDS, QUERY = random(3, 5, 2), random(3, 4, 2, seed=1)


def interpolate(features: Tensor, points: Tensor, query: Tensor) -> Tensor:
    return pointkernels.interpolate(features, points, query, lengths=LENGTHS)


OF_FACES: dict[str, Case] = {
    "knn": Case(
        lambda x, q: finite(pointkernels.knn(x, 6, query=q, lengths=LENGTHS, return_distance=True)), (CLOUDS, QUERY)
    ),
    "ball_query": Case(lambda x: finite(pointkernels.ball_query(x, 2.0, 3, return_distance=True)), (CLOUDS,)),
    "ball_query, nearest": Case(
        lambda x: finite(pointkernels.ball_query(x, 2.0, 3, nearest=True, return_distance=True)), (CLOUDS,)
    ),
    "chamfer_distance": Case(
        lambda x, y: pointkernels.chamfer_distance(x, y, x_lengths=LENGTHS, y_lengths=torch.tensor([4, 0, 4])),
        (CLOUDS, QUERY),
    ),
    "gather_neighbors": Case(lambda x: pointkernels.gather_neighbors(x, HOLES), (random(2, 5, 2),)),
    "gather_neighbors, of none": Case(lambda x: pointkernels.gather_neighbors(x, HOLES[:, :0]), (random(2, 5, 2),)),
    "gather_weighted": Case(
        lambda x, w: pointkernels.gather_weighted(x, HOLES, w), (random(2, 5, 2), random(2, 5, 3, seed=1))
    ),
    "interpolate": Case(interpolate, (random(3, 5, 2, seed=2), CLOUDS, QUERY)),
    "linear": Case(pointkernels.linear, (random(2, 4, 3), random(2, 3), random(2))),
    "edge_conv": Case(layer(training=True), ONE),
    "edge_conv, in evaluation": Case(layer(training=False), ONE),
    "edge_conv_two_layer": Case(two_layers(training=True), TWO),
    "edge_conv_two_layer, in evaluation": Case(two_layers(training=False), TWO),
    "dgcnn.get_graph_feature": Case(lambda x: dgcnn.get_graph_feature(x, 3), (random(2, 2, 5),)),
    "pytorch3d.knn_points": Case(lambda x, y: pytorch3d.knn_points(x, y, LENGTHS, K=3).dists, (CLOUDS, QUERY)),
    "pytorch3d.knn_gather": Case(
        lambda x: pytorch3d.knn_gather(x, HOLES.clamp(min=0), torch.tensor([5, 2])), (random(2, 5, 2),)
    ),
    "pytorch3d.ball_query": Case(lambda x, y: pytorch3d.ball_query(x, y, K=3, radius=2.0).dists, (CLOUDS, QUERY)),
    "pytorch3d.sample_farthest_points": Case(lambda x: pytorch3d.sample_farthest_points(x, K=3)[0], (CLOUDS,)),
    "pytorch3d.chamfer_distance": Case(lambda x, y: pytorch3d.chamfer_distance(x, y)[0], (CLOUDS, QUERY)),
    "pytorch3d.chamfer_distance, norm 1": Case(
        lambda x, y: pytorch3d.chamfer_distance(x, y, norm=1)[0], (CLOUDS, QUERY)
    ),
    "pointnet2.gather_operation": Case(
        lambda x: pointnet2.gather_operation(x, HOLES[..., 0].clamp(min=0).int()), (random(2, 2, 5),)
    ),
    "pointnet2.grouping_operation": Case(
        lambda x: pointnet2.grouping_operation(x, HOLES.clamp(min=0).int()), (random(2, 2, 5),)
    ),
    "pointnet2.three_interpolate": Case(
        lambda x, w: pointnet2.three_interpolate(x, HOLES.clamp(min=0).int(), w), (random(2, 2, 5), random(2, 5, 3))
    ),
}
# Faces that return integers, or what no derivative goes through in the project that they stand for.
WITHOUT = {
    "farthest_point_sampling", "dgcnn.knn", "dgcnn.fuse_edge_convs", "dgcnn.fused_edge_convs",
    "dgcnn.unfuse_edge_convs", "pointnet2.furthest_point_sample", "pointnet2.three_nn", "pointnet2.ball_query",
}  # fmt: skip
