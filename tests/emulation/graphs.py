"""Neighbour graphs for the operators that walk them, as hard as the clouds of tests/clouds.py."""

from __future__ import annotations

import torch
from torch import Tensor

GRAPHS = ["random", "hub", "everything_at_one", "holes", "no_edges", "duplicates"]


def graph(name: str, clouds: int, query_size: int, cloud_size: int, k: int, seed: int = 0) -> Tensor:
    """Lists (clouds * query_size, k), -1 or within [0, cloud_size); all -1 where clouds are empty."""
    generator = torch.Generator().manual_seed(seed)
    shape = (clouds * query_size, k)
    lists = torch.randint(0, max(cloud_size, 1), shape, generator=generator)
    if name == "no_edges" or cloud_size == 0:
        lists[:] = -1
    elif name == "hub":
        lists[torch.rand(shape, generator=generator) < 0.8] = cloud_size // 2
    elif name == "everything_at_one":
        lists[:] = cloud_size - 1
    elif name == "holes":
        lists[torch.rand(shape, generator=generator) < 0.4] = -1
        lists[::3] = -1
    elif name == "duplicates":
        lists = lists[:, torch.arange(k) // 2]
    return lists.contiguous()
