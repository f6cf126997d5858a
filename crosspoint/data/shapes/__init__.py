"""`shapes`: a procedural corpus of everyday objects with normals, part labels and class names, and pairs made of it."""

from crosspoint.data.shapes.dataset import PoseVariation, Shapes
from crosspoint.data.shapes.paired import DomainShift, PairedShapes, ShiftedShapes
from crosspoint.data.shapes.photo import PhotoShift
from crosspoint.data.shapes.scan import ScanShift

__all__ = ["DomainShift", "PairedShapes", "PhotoShift", "PoseVariation", "ScanShift", "Shapes", "ShiftedShapes"]
