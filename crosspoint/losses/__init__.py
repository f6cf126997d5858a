"""Losses: pure functions of projections, one per file."""

from crosspoint.losses.alignment import alignment_loss
from crosspoint.losses.cross_most import BranchLosses, CrossMostLoss, cross_most_loss
from crosspoint.losses.crosspoint import CrossPointLoss, crosspoint_loss
from crosspoint.losses.fairness import fairness_loss
from crosspoint.losses.global_local import global_local_loss
from crosspoint.losses.masked_modelling import masked_pixel_loss, masked_token_loss
from crosspoint.losses.nt_xent import nt_xent
from crosspoint.losses.pseudo_labels import (
    PseudoLabels,
    agreement_pseudo_labels,
    branch_pseudo_labels,
    joint_pseudo_labels,
    naive_pseudo_labels,
)
from crosspoint.losses.self_training import self_training_loss
from crosspoint.losses.tri_modal import TriModalLoss, tri_modal_loss

__all__ = [
    "BranchLosses",
    "CrossMostLoss",
    "CrossPointLoss",
    "PseudoLabels",
    "TriModalLoss",
    "agreement_pseudo_labels",
    "alignment_loss",
    "branch_pseudo_labels",
    "cross_most_loss",
    "crosspoint_loss",
    "fairness_loss",
    "global_local_loss",
    "joint_pseudo_labels",
    "masked_pixel_loss",
    "masked_token_loss",
    "naive_pseudo_labels",
    "nt_xent",
    "self_training_loss",
    "tri_modal_loss",
]
