"""The order in which a run visits its objects, known in advance and resumable anywhere."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler


class ResumableBatchSampler(Sampler[list[tuple[int, int]]]):
    """Batches of keys (index, epoch) for all epochs of a run, from any step on.

    Epoch e visits the objects in a permutation that depends on the seed and e alone, so the position in the run is one
    number: the steps done. An incomplete last batch is left out. Each process gets its own part of every batch.

    Args:
        size: Objects in the dataset.
        batch_size: Objects per step, over all processes.
        epochs: Passes over the data.
        seed: Seed of the permutations.
        start_step: Steps already done.
        rank: Number of this process.
        world_size: Number of processes.

    Attributes:
        steps_per_epoch: Batches in an epoch.
        total_steps: Batches in the run.

    Raises:
        ValueError: If there are fewer objects than a batch needs, the batch does not divide among the processes, or the
            start lies outside the run.
    """

    def __init__(
        self,
        size: int,
        batch_size: int,
        epochs: int,
        seed: int,
        *,
        start_step: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if batch_size > size:
            raise ValueError(f"batch_size must be at most the number of objects, got {batch_size} for {size} objects")
        if batch_size % world_size != 0:
            raise ValueError(
                f"batch_size must be a multiple of the number of processes, got {batch_size} for {world_size} processes"
            )
        self.steps_per_epoch = size // batch_size
        self.total_steps = self.steps_per_epoch * epochs
        if not 0 <= start_step <= self.total_steps:
            raise ValueError(f"start_step must lie in [0, {self.total_steps}], got {start_step}")
        self._size = size
        self._batch_size = batch_size
        self._seed = seed
        self._start_step = start_step
        share = batch_size // world_size
        self._part = slice(rank * share, (rank + 1) * share)

    def __len__(self) -> int:
        return self.total_steps - self._start_step

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        epoch, first = divmod(self._start_step, self.steps_per_epoch)
        while epoch * self.steps_per_epoch < self.total_steps:
            order = np.random.default_rng([self._seed, epoch]).permutation(self._size).tolist()
            for step in range(first, self.steps_per_epoch):
                batch = order[step * self._batch_size : (step + 1) * self._batch_size]
                yield [(index, epoch) for index in batch[self._part]]
            epoch, first = epoch + 1, 0
