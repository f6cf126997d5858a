"""One module per operator: face, fake kernel, autograd, autocast."""

__all__ = [
    "ball_query",
    "chamfer",
    "edge_conv",
    "edge_conv_formulas",
    "edge_conv_operators",
    "edge_conv_synchronized",
    "edge_conv_two_layer",
    "edge_conv_two_layer_chunks",
    "edge_conv_two_layer_chunks_backward",
    "edge_conv_two_layer_synchronized",
    "edge_layer",
    "farthest_point_sampling",
    "gather",
    "interpolation",
    "knn",
    "linear",
    "mapped",
    "reverse_graph",
    "running_statistics",
    "synchronized",
]
