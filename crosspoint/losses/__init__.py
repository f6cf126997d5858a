"""Losses: pure functions of projections, one per file."""

from crosspoint.losses.crosspoint import CrossPointLoss, crosspoint_loss
from crosspoint.losses.nt_xent import nt_xent

__all__ = ["CrossPointLoss", "crosspoint_loss", "nt_xent"]
