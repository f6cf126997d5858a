"""Batches from a dataset, in this process or in processes beside it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import connection
from typing import Any, cast

import torch
from torch.utils.data import DataLoader, Dataset

from crosspoint.data.labelled import CloudDataset
from crosspoint.data.sample import Batch, collate
from crosspoint.engine.interrupt import leave_signals_to_parent
from crosspoint.engine.sampler import ResumableBatchSampler

_LAST_MOMENT = 5.0  # seconds that a process may take from closing its connections to its end
_INSTANT = 0.001  # above 0: then join() waits for the exit code of a process that is ending


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
        ChildProcessError: If a loading process died.
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
    iterator = iter(loader)
    with _deaths_noticed_between_steps():
        try:
            while True:
                death, batch = None, None
                try:
                    batch = next(iterator)
                except StopIteration:
                    return
                except Exception as error:  # many kinds: a process may die while it hands something over
                    death = death_of_a_worker(iterator, hung_up=isinstance(error, (ConnectionError, EOFError)))
                    if death is None:
                        raise
                if death is not None:  # raised here, where the first error and all that it refers to are gone
                    raise death
                if isinstance(batch, Exception):
                    raise batch
                yield cast(Batch, batch)
        finally:
            del iterator  # ends the other processes, even while an error's traceback keeps this frame


class LoadingFailed(OSError):  # noqa: N818 (it says what happened)
    """Data could not be loaded; all steps until then are in the checkpoint.

    Args:
        cause: What went wrong.
        step: Steps done, all of them in the checkpoint.
    """

    def __init__(self, cause: Exception, step: int) -> None:
        super().__init__(f"{cause} (all {step} steps until then are in the checkpoint)")


def save_before_failing(
    batches: Generator[Batch, None, None], save: Callable[[], None], steps: Callable[[], int]
) -> Generator[Batch, None, None]:
    """The same batches; when one cannot be loaded, the run is saved first, so that no step is lost.

    Args:
        batches: From `load_batches`.
        save: Writes a checkpoint; called between two steps.
        steps: Tells the steps done.

    Raises:
        LoadingFailed: In place of an error of the batches; whatever save raises goes first.
    """
    try:
        yield from batches
    except (ValueError, OSError) as error:
        save()
        raise LoadingFailed(error, steps()) from error


@contextmanager
def _deaths_noticed_between_steps() -> Iterator[None]:
    """DataLoader's own handler raises wherever the training is when a process dies, in the midst of an update too.

    Without it, DataLoader notices some seconds later, while it waits for the next batch.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, previous)


def death_of_a_worker(iterator: Any, *, hung_up: bool) -> ChildProcessError | None:
    """The error to raise if one of DataLoader's processes has died.

    Args:
        iterator: DataLoader's.
        hung_up: Whether a process has closed its connection. One that dies does so a moment before the system tells.
    """
    workers = getattr(iterator, "_workers", ())
    if hung_up:
        connection.wait([worker.sentinel for worker in workers], timeout=_LAST_MOMENT)
    for worker in workers:
        worker.join(timeout=_INSTANT)
        code = worker.exitcode
        if code:
            end = f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
            hint = ", often for want of memory: try fewer data.workers" if code == -signal.SIGKILL else ""
            return ChildProcessError(f"a data-loading process must live as long as the run, got one {end}{hint}")
    return None
