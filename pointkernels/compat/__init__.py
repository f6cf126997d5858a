"""Drop-in faces with the exact signatures of other projects, one module each."""

from pointkernels.compat import dgcnn as dgcnn
from pointkernels.compat import pointnet2 as pointnet2
from pointkernels.compat import pytorch3d as pytorch3d
from pointkernels.compat import torch_cluster as torch_cluster
from pointkernels.compat import torch_geometric as torch_geometric

__all__ = ["dgcnn", "pointnet2", "pytorch3d", "torch_cluster", "torch_geometric"]
