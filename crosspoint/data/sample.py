"""What a dataset item and a batch of them look like, for every dataset."""

from collections.abc import Sequence
from typing import Literal, TypedDict, cast

import torch
from torch import Tensor

UpAxis = Literal["x", "y", "z"]


class _RequiredFields(TypedDict):
    points: Tensor
    label: Tensor


class Sample(_RequiredFields, total=False):
    """One object.

    Keys:
        points: (N, 3) float32, centred on the mean and scaled to the unit sphere.
        label: () int64, index into the dataset's `class_names`.
        normals: (N, 3) float32 unit normals (optional).
        parts: (N,) int64 global part ids (optional).
        image: (3, H, W) uint8 RGB; one view of the object, another one in other epochs (optional).
        views: (V, 3, H, W) uint8 RGB; all its views in an order that never changes, for evaluation (optional).
    """

    normals: Tensor
    parts: Tensor
    image: Tensor
    views: Tensor


class Batch(_RequiredFields, total=False):
    """B objects: the fields of `Sample` with a leading batch dimension, `label` being (B,)."""

    normals: Tensor
    parts: Tensor
    image: Tensor
    views: Tensor


def collate(samples: Sequence[Sample]) -> Batch:
    """Stack items into a batch; usable as the `collate_fn` of a DataLoader.

    Args:
        samples: at least one item, all with the same keys and the same shapes.

    Returns:
        The stacked batch.

    Raises:
        ValueError: there is no item, or keys or shapes differ between items.
    """
    if len(samples) == 0:
        raise ValueError("a batch needs at least 1 sample, got 0")
    keys = sorted(samples[0])
    stacked: dict[str, Tensor] = {}
    for sample in samples:
        if sorted(sample) != keys:
            raise ValueError(f"all samples of a batch must have the same keys, got {keys} and {sorted(sample)}")
    for key in keys:
        tensors = [cast(dict[str, Tensor], sample)[key] for sample in samples]
        for tensor in tensors:
            if tensor.shape != tensors[0].shape:
                raise ValueError(
                    f"all samples of a batch must have the same shape of {key!r}, "
                    f"got {tuple(tensors[0].shape)} and {tuple(tensor.shape)}"
                )
        stacked[key] = torch.stack(tensors)
    return cast(Batch, stacked)
