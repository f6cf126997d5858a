"""`shapes`: a procedural corpus of everyday objects with normals, part labels and class names."""

from crosspoint.data.shapes.dataset import PoseVariation, Shapes

__all__ = ["PoseVariation", "Shapes"]
