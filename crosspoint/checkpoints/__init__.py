"""Weights of other projects.

CrossPoint's, DGCNN's and PointNet's to our modules and back; those of CLIP, ULIP and Point-BERT to aligned models.
"""

from crosspoint.checkpoints.aligned_report import AlignedReport
from crosspoint.checkpoints.clip import load_clip
from crosspoint.checkpoints.official import LoadReport, export_official, load_official
from crosspoint.checkpoints.ulip import load_dvae, load_ulip

__all__ = ["AlignedReport", "LoadReport", "export_official", "load_clip", "load_dvae", "load_official", "load_ulip"]
