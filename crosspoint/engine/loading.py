"""Batches from a dataset, in this process or in processes beside it."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any, cast

import torch
from torch.utils.data import DataLoader, Dataset

from crosspoint.data.sample import Batch, collate
from crosspoint.engine.interrupt import leave_signals_to_parent
from crosspoint.engine.sampler import ResumableBatchSampler
from crosspoint.engine.sources import CloudDataset


class _ErrorsAsItems(Dataset[Any]):
    """A dataset that hands over a bad file's error instead of raising it.

    DataLoader wraps what a process raises in a text with the whole traceback, and the wrapped error keeps the loading
    processes alive through a reference cycle. As an item it arrives as it is.
    """

    def __init__(self, dataset: CloudDataset) -> None:
        self._dataset = dataset

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, key: Any) -> Any:
        try:
            return self._dataset[key]
        except (ValueError, OSError) as error:
            return error


def _collate(items: Sequence[Any]) -> Any:
    errors = [item for item in items if isinstance(item, Exception)]
    return errors[0] if errors else collate(items)


def load_batches(
    dataset: CloudDataset, sampler: ResumableBatchSampler, *, workers: int, pin_memory: bool
) -> Generator[Batch, None, None]:
    """The batches that the sampler names, in its order.

    Args:
        dataset: The objects.
        sampler: The keys of each batch.
        workers: Processes that load ahead; 0 loads here. The batches are the same. They end when the generator is
            closed or exhausted.
        pin_memory: Whether batches lie in page-locked memory, from which a GPU copies faster.

    Yields:
        One batch after the other.

    Raises:
        ValueError, OSError: If an object cannot be read, as the dataset raised it.
    """
    loader: DataLoader[Any] = DataLoader(
        _ErrorsAsItems(dataset),
        batch_sampler=sampler,
        num_workers=workers,
        collate_fn=_collate,
        pin_memory=pin_memory,
        worker_init_fn=leave_signals_to_parent,
        generator=torch.Generator(),  # otherwise starting to load draws from the global one, and a resumed run differs
    )
    for batch in loader:
        if isinstance(batch, Exception):
            raise batch
        yield cast(Batch, batch)
