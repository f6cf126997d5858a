"""Exact, fast point-cloud kernels for PyTorch, on CPU and CUDA: neighbour search, sampling, fused EdgeConv."""

from pointkernels import compat as compat
from pointkernels import nn as nn
from pointkernels import reference as reference
from pointkernels._library import __version__ as __version__
from pointkernels._library import build_info as build_info
from pointkernels.ops.ball_query import ball_query as ball_query
from pointkernels.ops.chamfer import chamfer_distance as chamfer_distance
from pointkernels.ops.edge_conv import edge_conv as edge_conv
from pointkernels.ops.edge_conv_two_layer import edge_conv_two_layer as edge_conv_two_layer
from pointkernels.ops.farthest_point_sampling import farthest_point_sampling as farthest_point_sampling
from pointkernels.ops.gather import gather_neighbors as gather_neighbors
from pointkernels.ops.gather import gather_weighted as gather_weighted
from pointkernels.ops.interpolation import interpolate as interpolate
from pointkernels.ops.knn import knn as knn
from pointkernels.ops.linear import linear as linear
from pointkernels.reference import EdgeLayer as EdgeLayer

__all__ = [
    "EdgeLayer",
    "__version__",
    "ball_query",
    "build_info",
    "chamfer_distance",
    "compat",
    "edge_conv",
    "edge_conv_two_layer",
    "farthest_point_sampling",
    "gather_neighbors",
    "gather_weighted",
    "interpolate",
    "knn",
    "linear",
    "nn",
    "reference",
]
