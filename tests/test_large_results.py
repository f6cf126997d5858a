"""Results on a CPU, small or on huge pages: tensors like all others, which can grow, be filled, shared and copied."""

from __future__ import annotations

import copy
import gc
import io
import multiprocessing
import pickle
import sys
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection

import numpy as np
import pytest
import torch
from torch import Tensor

import pointkernels
from pointkernels import reference

COUNT, K = 8192, 32  # 2 MB of indices


def _points(seed: int) -> Tensor:
    return torch.randn(1, COUNT, 3, generator=torch.Generator().manual_seed(seed))


def _checksum(indices: Tensor) -> int:
    return int((indices * torch.arange(indices.numel()).view_as(indices)).sum())


# So many points that every result but chamfer distances and samples is above 512 KiB, or so few that none is.
SIZES = [16, 9000]


def _gradient(call: Callable[[Tensor], Tensor], given: Tensor) -> Tensor:
    leaf = given.clone().requires_grad_()
    call(leaf).sum().backward()
    assert leaf.grad is not None
    return leaf.grad


def _results(count: int) -> dict[str, Tensor]:
    """One of each operator, forward and backward; nobody else holds them."""
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(1, count, 3, generator=generator)
    features = torch.randn(1, count, 32, generator=generator)
    neighbors = pointkernels.knn(points, 16)
    weights = torch.rand(1, count, 16, generator=generator)
    square = torch.randn(32, 32, generator=generator)
    distances, indices = pointkernels.knn(points, 16, return_distance=True)
    in_ball, of_ball = pointkernels.ball_query(points, 0.5, 16, return_distance=True)
    one = pointkernels.nn.EdgeConv(32, 32, k=16)
    two = pointkernels.nn.TwoLayerEdgeConv(32, 32, 32, k=16)
    calls: dict[str, Callable[[Tensor], Tensor]] = {
        "edge_conv": lambda x: one(x, neighbors),
        "edge_conv_two_layer": lambda x: two(x, neighbors),
        "gather_neighbors": lambda x: pointkernels.gather_neighbors(x, neighbors),
        "gather_weighted": lambda x: pointkernels.gather_weighted(x, neighbors, weights),
        "interpolate": lambda x: pointkernels.interpolate(x, points, points),
        "linear": lambda x: pointkernels.linear(x, square),
    }
    results = {name: call(features).detach() for name, call in calls.items()}
    results |= {f"gradient of {name}": _gradient(call, features) for name, call in calls.items()}
    results |= {
        "knn": indices,
        "distances of knn": distances,
        "ball_query": of_ball,
        "distances of ball_query": in_ball,
    }
    results["farthest_point_sampling"] = pointkernels.farthest_point_sampling(points, count // 2)
    results["chamfer_distance"] = pointkernels.chamfer_distance(points, points + 0.1)
    results["gradient of chamfer_distance"] = _gradient(
        lambda x: pointkernels.chamfer_distance(x, points), points + 0.1
    )
    return results


RESULTS = list(_results(SIZES[0]))


@pytest.fixture(scope="module", params=SIZES)
def results(request: pytest.FixtureRequest) -> dict[str, Tensor]:
    return _results(request.param)


def test_most_results_are_large() -> None:
    large = [name for name, result in _results(SIZES[-1]).items() if result.nbytes >= 1 << 19]
    assert set(RESULTS) - set(large) == {
        "farthest_point_sampling", "chamfer_distance", "gradient of chamfer_distance",
    }  # fmt: skip


def _own(results: dict[str, Tensor], name: str) -> tuple[Tensor, Tensor]:
    """A result, which is taken out, and what it holds."""
    result = results[name]
    assert result.untyped_storage().resizable()
    return result, result.clone()


@pytest.mark.parametrize("name", RESULTS)
def test_results_are_tensors_like_all_others(name: str, results: dict[str, Tensor]) -> None:
    result, expected = _own(results, name)
    for copied in (copy.deepcopy(result), pickle.loads(pickle.dumps(result))):
        assert torch.equal(copied, expected)
        assert copied.untyped_storage().resizable()
    count = result.numel()
    result.resize_(count + 5000)  # keeps what there is
    assert torch.equal(result[:count].view_as(expected), expected)
    result[count:] = 7
    twice = torch.cat([expected.flatten(), expected.flatten(), expected.flatten(), result[:5000].clone()])
    torch.cat([twice, twice], out=result.resize_(0))
    assert torch.equal(result, torch.cat([twice, twice]))
    result.untyped_storage().resize_(2 * result.untyped_storage().nbytes())
    assert torch.equal(result[: len(twice)], twice)
    result.share_memory_()
    assert result.is_shared()
    assert torch.equal(result[: len(twice)], twice)
    result.set_(expected.untyped_storage(), 0, expected.shape, expected.stride())
    assert torch.equal(result, expected)


def _sums(tensors: list[Tensor]) -> list[float]:
    """Of NumPy, whose order of adding does not depend on the number of threads."""
    return [float(np.nansum(tensor.numpy(), dtype=np.float64)) for tensor in tensors]


def _sum_in_child(connection: Connection, tensors: list[Tensor]) -> None:
    connection.send(_sums(tensors))
    for tensor in tensors:
        tensor.fill_(3)
    connection.send("filled")


@pytest.mark.parametrize("count", SIZES)
def test_results_are_shared_with_another_process(count: int) -> None:
    """Handed over as they are: the other process sees them, and what it writes is seen here."""
    tensors = list(_results(count).values())
    expected = _sums(tensors)
    here, there = torch.multiprocessing.Pipe()
    context = torch.multiprocessing.get_context("spawn")
    child = context.Process(target=_sum_in_child, args=(there, tensors))
    child.start()
    assert here.poll(120)
    assert here.recv() == expected
    assert here.poll(60)
    assert here.recv() == "filled"
    child.join()
    assert all(bool((tensor == 3).all()) for tensor in tensors)


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
