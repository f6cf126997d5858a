"""One module per operator: face, fake kernel, autograd, autocast."""

__all__ = [
    "ball_query",
    "chamfer",
    "edge_conv",
    "edge_conv_two_layer",
    "edge_conv_two_layer_chunks",
    "farthest_point_sampling",
    "gather",
    "interpolation",
    "knn",
    "linear",
    "reverse_graph",
    "running_statistics",
]
