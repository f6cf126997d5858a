"""Weights of other projects: CrossPoint's, DGCNN's and PointNet's state dicts to our modules and back."""

from crosspoint.checkpoints.official import LoadReport, export_official, load_official

__all__ = ["LoadReport", "export_official", "load_official"]
