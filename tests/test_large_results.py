"""Large results on a CPU, which lie in memory of their own that is used again: tensors like all others."""

from __future__ import annotations

import gc
import io
import mmap
import multiprocessing
import sys
import threading
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
import torch
from torch import Tensor

import pointkernels
from pointkernels import _C, reference

COUNT, K = 8192, 32  # 2 MB of indices


def _points(seed: int) -> Tensor:
    return torch.randn(1, COUNT, 3, generator=torch.Generator().manual_seed(seed))


def _checksum(indices: Tensor) -> int:
    return int((indices * torch.arange(indices.numel()).view_as(indices)).sum())


def test_results_alive_together_share_nothing() -> None:
    sums = [_checksum(pointkernels.knn(_points(seed), K)) for seed in range(8)]
    results = [pointkernels.knn(_points(seed), K) for seed in range(8)]
    assert [_checksum(result) for result in results] == sums
    assert len({result.data_ptr() for result in results}) == 8
    del results[::2]
    results += [pointkernels.knn(_points(seed), K) for seed in range(0, 8, 2)]
    assert [_checksum(result) for result in results] == [sums[seed] for seed in (1, 3, 5, 7, 0, 2, 4, 6)]


def test_what_is_left_of_a_result_keeps_its_memory() -> None:
    result = pointkernels.knn(_points(0), K)
    expected = result.clone()
    column, array = result[0, :, 3], result.numpy()
    del result
    gc.collect()
    others = [pointkernels.knn(_points(seed), K) for seed in range(1, 6)]
    assert torch.equal(column, expected[0, :, 3])
    assert (array == expected.numpy()).all()
    assert len(others) == 5


@pytest.mark.parametrize("count", [1, 2000, 2048, 8192, 8193, 10000, 30000])
def test_any_size(count: int) -> None:
    points = _points(1)[:, :500].repeat(1, 60, 1)[:, :count]
    features = torch.randn(1, count, 64, generator=torch.Generator().manual_seed(2))
    neighbors = pointkernels.knn(points, min(4, count))
    found = pointkernels.gather_neighbors(features, neighbors)
    assert torch.equal(found, reference.gather_neighbors(features, neighbors))
    assert found.untyped_storage().nbytes() == found.numel() * 4


def test_copies_and_files() -> None:
    result = pointkernels.knn(_points(0), K)
    expected = result.clone()
    file = io.BytesIO()
    torch.save(result, file)
    assert file.tell() < result.numel() * 8 + 4096
    file.seek(0)
    assert torch.equal(torch.load(file, weights_only=True), expected)
    assert torch.equal(result.share_memory_(), expected)
    result[0, 0] = 7
    assert (result[0, 0] == 7).all()


def test_threads_that_free_each_others_results() -> None:
    expected = _checksum(pointkernels.knn(_points(0), K))
    wrong: list[int] = []
    shared: list[Tensor] = []

    def work() -> None:
        for _ in range(20):
            result = pointkernels.knn(_points(0), K)
            shared.append(result)
            if len(shared) > 3:
                shared.pop(0)
            if _checksum(result) != expected:
                wrong.append(_checksum(result))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def _search_in_child(connection: Connection) -> None:
    connection.send(_checksum(pointkernels.knn(_points(0), K)))


@pytest.mark.skipif(sys.platform != "linux", reason="forks")
def test_a_forked_process_has_its_own() -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # threads of OpenMP do not survive a fork
    try:
        result = pointkernels.knn(_points(0), K)
        expected = _checksum(result)
        del result
        here, there = multiprocessing.Pipe()
        child = multiprocessing.get_context("fork").Process(target=_search_in_child, args=(there,))
        child.start()
        other = pointkernels.knn(_points(1), K)
        assert here.poll(60)
        assert here.recv() == expected
        child.join()
        assert torch.equal(other, pointkernels.knn(_points(1), K))
    finally:
        torch.set_num_threads(threads)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="asks Linux for the memory in use")
def test_freed_memory_goes_back() -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE

    pointkernels.knn(_points(0), K)
    before = resident()
    results = [pointkernels.knn(_points(0), K) for _ in range(50)]
    assert resident() - before > 70 << 20
    results.clear()
    gc.collect()
    assert resident() - before < 30 << 20
    assert _C.release_kept_pages() <= 16 << 20
    assert _C.release_kept_pages() == 0
    assert torch.equal(pointkernels.knn(_points(0), K), pointkernels.knn(_points(0), K))
