import multiprocessing
import os
import threading
import time
from types import SimpleNamespace

import pytest
import torch

from crosspoint.data.sample import Sample
from crosspoint.engine.loading import LoadingFailed, death_of_a_worker, load_batches, save_before_failing
from crosspoint.engine.sampler import ResumableBatchSampler


class Numbers:
    """Clouds that hold their own key; one of them may be broken."""

    class_names = ("number",)
    up_axis = "y"

    def __init__(self, broken: int | None = None) -> None:
        self.broken = broken

    def __len__(self) -> int:
        return 6

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        index, epoch = key
        if index == self.broken:
            raise FileNotFoundError(f"number {index} must exist, got nothing")
        return Sample(points=torch.tensor([[index, epoch, 0.0]]), label=torch.tensor(0))


class Deadly(Numbers):
    """One of the clouds ends the process that reads it."""

    def __init__(self, deadly: int) -> None:
        super().__init__()
        self.deadly = deadly

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        if key[0] == self.deadly:
            os._exit(3)
        return super().__getitem__(key)


def plan() -> ResumableBatchSampler:
    return ResumableBatchSampler(6, 2, 2, seed=0, start_step=1)


def test_batches_follow_the_sampler() -> None:
    loaded = [
        batch["points"][:, 0, :2].long().tolist()
        for batch in load_batches(Numbers(), plan(), workers=0, pin_memory=False)
    ]
    assert loaded == [[list(key) for key in batch] for batch in plan()]


def test_an_error_arrives_as_it_was_raised() -> None:
    batches = load_batches(Numbers(broken=list(plan())[1][0][0]), plan(), workers=0, pin_memory=False)
    next(batches)
    with pytest.raises(FileNotFoundError, match=r"^number \d must exist, got nothing$"):
        next(batches)


def test_the_death_of_a_loading_process_is_one_clear_error() -> None:
    deadly = Deadly(list(plan())[2][0][0])
    message = "^a data-loading process must live as long as the run, got one ended with exit code 3$"
    with pytest.raises(ChildProcessError, match=message) as caught:
        list(load_batches(deadly, plan(), workers=2, pin_memory=False))
    assert multiprocessing.active_children() == []  # the other one has ended too
    assert caught.value.__context__ is None


def test_a_process_that_hung_up_is_given_the_time_to_die() -> None:
    worker = multiprocessing.get_context("forkserver").Process(target=time.sleep, args=(60,))
    worker.start()
    iterator = SimpleNamespace(_workers=[worker])
    assert death_of_a_worker(iterator, hung_up=False) is None
    threading.Timer(0.2, worker.kill).start()
    assert "got one killed by SIGKILL" in str(death_of_a_worker(iterator, hung_up=True))


def test_loading_processes_end_with_an_error() -> None:
    broken = Numbers(broken=list(plan())[1][0][0])
    with pytest.raises(FileNotFoundError) as caught:
        list(load_batches(broken, plan(), workers=2, pin_memory=False))
    assert multiprocessing.active_children() == []
    assert caught.tb is not None


def test_a_run_is_saved_before_it_fails() -> None:
    saved = []
    loaded = load_batches(Numbers(broken=list(plan())[1][0][0]), plan(), workers=0, pin_memory=False)
    batches = save_before_failing(loaded, lambda: saved.append(True), lambda: 7)
    next(batches)
    assert not saved
    with pytest.raises(LoadingFailed, match=r"^number \d must exist, got nothing \(all 7 steps until then are in the "):
        next(batches)
    assert saved == [True]


def test_a_run_that_is_closed_is_not_saved() -> None:
    saved = []
    loaded = load_batches(Numbers(), plan(), workers=0, pin_memory=False)
    batches = save_before_failing(loaded, lambda: saved.append(True), lambda: 7)
    next(batches)
    batches.close()
    assert not saved
