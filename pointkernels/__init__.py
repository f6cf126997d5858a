"""Exact, fast point-cloud kernels for PyTorch, on CPU and CUDA: kNN, farthest point sampling, fused EdgeConv."""

from pointkernels import compat as compat
from pointkernels import nn as nn
from pointkernels import reference as reference
from pointkernels._library import __version__ as __version__
from pointkernels._library import build_info as build_info
from pointkernels.ops.edge_conv import edge_conv as edge_conv
from pointkernels.ops.farthest_point_sampling import farthest_point_sampling as farthest_point_sampling
from pointkernels.ops.knn import knn as knn
