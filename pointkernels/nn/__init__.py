"""Modules on the kernels."""

from pointkernels.nn.edge_conv import EdgeConv as EdgeConv
from pointkernels.nn.graph_edge_conv import DynamicEdgeConv as DynamicEdgeConv
from pointkernels.nn.graph_edge_conv import GraphEdgeConv as GraphEdgeConv
from pointkernels.nn.graph_two_layer_edge_conv import TwoLayerDynamicEdgeConv as TwoLayerDynamicEdgeConv
from pointkernels.nn.graph_two_layer_edge_conv import TwoLayerGraphEdgeConv as TwoLayerGraphEdgeConv
from pointkernels.nn.two_layer_edge_conv import TwoLayerEdgeConv as TwoLayerEdgeConv

__all__ = [
    "DynamicEdgeConv",
    "EdgeConv",
    "GraphEdgeConv",
    "TwoLayerDynamicEdgeConv",
    "TwoLayerEdgeConv",
    "TwoLayerGraphEdgeConv",
]
