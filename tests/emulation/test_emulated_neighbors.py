"""kNN, farthest point sampling and neighbour graphs, emulated: the same integers as on the CPU, on hard inputs."""

from __future__ import annotations

import pytest
import torch
from clouds import CLOUDS, cloud
from graphs import GRAPHS, graph
from machines import Machine
from torch import Tensor

pytestmark = pytest.mark.emulation
OPERATORS = torch.ops.pointkernels
DTYPES = [torch.float32, torch.float64]
MOST_POINTS = 72  # of a cloud, which is enough for several tiles of queries and a last one that is not full


def small_rows(name: str, dtype: torch.dtype) -> tuple[Tensor, int, int]:
    """The first points of each cloud of a hard input, as rows; the number of clouds and the size of each."""
    points = cloud(name, dtype)[:, :MOST_POINTS]
    return points.reshape(-1, points.shape[2]).contiguous(), points.shape[0], points.shape[1]


def assert_same(actual: Tensor | tuple[Tensor, ...], expected: Tensor | tuple[Tensor, ...]) -> None:
    """To the last bit, but for the bits of a NaN."""
    torch.testing.assert_close(actual, expected, rtol=0, atol=0, equal_nan=True)


# --- kNN --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CLOUDS)
def test_knn(name: str, machine: Machine) -> None:
    for dtype in DTYPES:
        rows, clouds, size = small_rows(name, dtype)
        for arguments in ((rows, None, None, None, clouds, 20, True), (rows, None, None, None, clouds, size, False)):
            assert_same(machine.run("knn", *arguments), OPERATORS.knn(*arguments))


@pytest.mark.parametrize("k", [1, 32, 33, 64, 65, 128, 129, 257, 300])
def test_knn_of_every_list_length(k: int, machine: Machine) -> None:
    """Lists of one, two and four registers, rounds of 128, and more than there are points."""
    points = torch.randint(0, 5, (290, 3), generator=torch.Generator().manual_seed(k))
    for dtype in DTYPES:
        arguments = (points.to(dtype), None, points[:9].to(dtype), None, 1, k, True)
        assert_same(machine.run("knn", *arguments), OPERATORS.knn(*arguments))


def ragged(sizes: list[int], dims: int, dtype: torch.dtype, lead: int) -> tuple[Tensor, Tensor]:
    """Clouds of these sizes with gaps before, between and after them, and mass ties."""
    first = lead + torch.cumsum(torch.tensor([0, *[size + 3 * (size % 3) for size in sizes[:-1]]]), 0)
    extents = torch.stack([first, torch.tensor(sizes)], dim=1)
    rows = int(extents[-1].sum()) + 5
    return torch.randint(0, 4, (rows, dims), generator=torch.Generator().manual_seed(rows)).to(dtype), extents


@pytest.mark.parametrize("dims", [1, 3, 17])
@pytest.mark.parametrize(
    ("sizes", "query_sizes"),
    [([0, 0, 5], [3, 0, 0]), ([33], [40]), ([16, 17, 0, 1, 70], [1, 15, 16, 0, 33]), ([2] * 40, [1] * 40)],
)
def test_knn_of_ragged_clouds_with_gaps(sizes: list[int], query_sizes: list[int], dims: int, machine: Machine) -> None:
    for dtype, lead in zip(DTYPES, (0, 37), strict=True):
        points, extents = ragged(sizes, dims, dtype, lead)
        query, query_extents = ragged(query_sizes, dims, dtype, 50)
        for arguments in (
            (points, extents, None, None, len(sizes), 9, False),
            (points, extents, query, query_extents, len(sizes), 40, True),
        ):
            assert_same(machine.run("knn", *arguments), OPERATORS.knn(*arguments))


# --- farthest point sampling ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CLOUDS)
def test_farthest_point_sampling(name: str, machine: Machine) -> None:
    for dtype in DTYPES:
        rows, clouds, size = small_rows(name, dtype)
        arguments = (rows, None, torch.arange(clouds) * 7 % size, clouds, size + 2)
        assert_same(machine.run("farthest_point_sampling", *arguments), OPERATORS.farthest_point_sampling(*arguments))


@pytest.mark.parametrize("dims", [1, 3, 17])
def test_farthest_point_sampling_of_ragged_clouds_with_gaps(dims: int, machine: Machine) -> None:
    for dtype, lead in zip(DTYPES, (0, 37), strict=True):
        sizes = [16, 17, 0, 1, 70]
        points, extents = ragged(sizes, dims, dtype, lead)
        arguments = (points, extents, torch.tensor([15, 3, 0, 0, 1]), len(sizes), 30)
        assert_same(machine.run("farthest_point_sampling", *arguments), OPERATORS.farthest_point_sampling(*arguments))


@pytest.mark.parametrize("values", ["random", "lattice", "nan"])
@pytest.mark.parametrize(
    ("dtype", "size", "dims"),
    [
        pytest.param(torch.float32, 6200, 3, id="registers_and_workspace"),
        pytest.param(torch.float64, 2600, 3, id="registers_and_workspace_float64"),
        pytest.param(torch.float32, 1000, 9, id="shared_memory"),
        pytest.param(torch.float32, 1400, 9, id="shared_memory_that_is_asked_for"),
        pytest.param(torch.float32, 1800, 9, id="shared_memory_of_sm90_but_not_sm75"),
        pytest.param(torch.float64, 3000, 9, id="workspace"),
    ],
)
def test_farthest_point_sampling_of_large_clouds(
    dtype: torch.dtype, size: int, dims: int, values: str, machine: Machine
) -> None:
    generator = torch.Generator().manual_seed(size)
    points = torch.rand(size, dims, generator=generator)
    if values == "lattice":
        points = (points * 4).floor()
    elif values == "nan":
        points[::7, 0] = torch.nan
    extents = torch.tensor([[0, 10], [10, size - 10]])
    for arguments in (
        (points.to(dtype), None, torch.tensor([size - 1]), 1, 4),
        (points.to(dtype), extents, torch.tensor([3, 6]), 2, 4),
    ):
        assert_same(machine.run("farthest_point_sampling", *arguments), OPERATORS.farthest_point_sampling(*arguments))


# --- graphs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GRAPHS)
def test_reverse_graph(name: str, machine: Machine) -> None:
    """One, two and three passes of the sort, several tiles and several blocks, empty clouds and lists, spare rows."""
    for clouds, query_size, cloud_size, k in (
        (1, 1, 1, 1), (3, 7, 11, 4), (2, 60, 60, 20), (30, 3, 2, 5), (1, 3, 70_000, 2), (1, 700, 300, 3),
        (4, 0, 5, 2), (2, 5, 0, 2), (2, 6, 6, 0), (5, 8, 8, 300),
    ):  # fmt: skip
        lists = graph(name, clouds, query_size, cloud_size, k)
        arguments = (lists, query_size, cloud_size, clouds * cloud_size + k % 4)
        offsets, edges = machine.run("_reverse_graph", *arguments)
        expected_offsets, expected_edges = OPERATORS._reverse_graph(*arguments)
        assert_same(offsets, expected_offsets)
        used = int(offsets[-1])  # edges behind those are unspecified
        assert used == int((lists >= 0).sum())
        assert_same(edges[:used], expected_edges[:used])


@pytest.mark.parametrize("name", GRAPHS)
def test_used_rows(name: str, machine: Machine) -> None:
    for clouds, size, k in ((1, 1, 1), (3, 11, 4), (2, 600, 2), (2, 6, 0), (0, 5, 3)):
        lists = graph(name, clouds, size, size, k)
        assert_same(machine.run("_used_rows", lists, size), OPERATORS._used_rows(lists, size))


# --- bad values, which a GPU cannot report before it meets them -------------------------------------------------------


@pytest.mark.parametrize("bad", [-2, 7, 2**40])
def test_a_neighbour_outside_its_cloud_stops_the_grid(bad: int, machine: Machine) -> None:
    lists = torch.zeros(4, 3, dtype=torch.int64)
    lists[2, 1] = bad
    check = r"a device check fails: \(neighbor >= 0 && neighbor < cloud_size\) at csrc/cuda/index\.cuh:\d+, block 0"
    with pytest.raises(RuntimeError, match=check):
        machine.run("_reverse_graph", lists, 4, 7, 7)
    with pytest.raises(RuntimeError, match=check):
        machine.run("_used_rows", lists, 4)


def test_a_start_outside_its_cloud_stops_the_grid(machine: Machine) -> None:
    with pytest.raises(RuntimeError, match=r"sample >= 0 && sample < size.+farthest_point_sampling\.cu:\d+, block 1"):
        machine.run("farthest_point_sampling", torch.zeros(10, 3), None, torch.tensor([4, 5]), 2, 3)
