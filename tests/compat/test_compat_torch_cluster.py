"""`pointkernels.compat.torch_cluster`: every documented argument against plain torch."""

from __future__ import annotations

from collections.abc import Callable

import oracles
import pytest
import torch
from oracles import CLOUDS
from torch import Tensor

from pointkernels.compat import _packed, torch_cluster

# Three clouds in the ids 0, 2 and 3; cloud 1 has no rows.
BATCH_X = torch.tensor([0] * 10 + [2] * 11 + [3] * 3)
BATCH_Y = torch.tensor([0] * 4 + [2] * 5 + [3] * 2)


def clouds(batch_x: Tensor | None, batch_y: Tensor | None, rows_x: int, rows_y: int) -> list[tuple[Tensor, Tensor]]:
    """Rows of x and of y of each cloud."""
    if batch_x is None or batch_y is None:
        return [(torch.arange(rows_x), torch.arange(rows_y))]
    return [((batch_x == c).nonzero().flatten(), (batch_y == c).nonzero().flatten()) for c in range(4)]


def edges(pairs: list[tuple[int, int]]) -> Tensor:
    return torch.tensor(sorted(pairs, key=lambda pair: pair[0]), dtype=torch.int64).reshape(-1, 2).t()


def expected_knn(x: Tensor, y: Tensor, k: int, batch_x: Tensor | None, batch_y: Tensor | None) -> Tensor:
    pairs = []
    for rows_x, rows_y in clouds(batch_x, batch_y, len(x), len(y)):
        _, order = oracles.nearest(x[rows_x], y[rows_y], k)
        pairs += [(int(i), int(rows_x[j])) for i, row in zip(rows_y, order, strict=True) for j in row]
    return edges(pairs)


@pytest.fixture(params=[False, True], ids=["one", "batched"])
def batches(request: pytest.FixtureRequest) -> tuple[Tensor | None, Tensor | None]:
    return (BATCH_X, BATCH_Y) if request.param else (None, None)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64])
@pytest.mark.parametrize("k", [1, 4, 150])
@pytest.mark.parametrize("name", CLOUDS)
def test_knn(name: str, k: int, dtype: torch.dtype, batches: tuple[Tensor | None, Tensor | None]) -> None:
    x, y = CLOUDS[name][0], CLOUDS[name][1, :11]
    if dtype == torch.int64:
        x, y = (10 * x).round(), (10 * y).round()
    expected = expected_knn(x, y, k, *batches)
    assert torch.equal(torch_cluster.knn(x.to(dtype), y.to(dtype), k, *batches), expected)
    sized = torch_cluster.knn(
        x.to(dtype), y.to(dtype), k, *batches, num_workers=3, batch_size=7 if batches[0] is not None else 1
    )
    assert torch.equal(sized, expected)


def test_knn_by_cosine(batches: tuple[Tensor | None, Tensor | None]) -> None:
    x, y = CLOUDS["random"][0] * torch.rand(24, 1).double(), CLOUDS["random"][1, :11]
    expected = expected_knn(x / x.norm(dim=1, keepdim=True), y / y.norm(dim=1, keepdim=True), 3, *batches)
    assert torch.equal(torch_cluster.knn(x, y, 3, *batches, True), expected)


def test_one_coordinate_and_clouds_without_queries() -> None:
    x, y = torch.tensor([0.0, 5.0, 7.0, 8.0]), torch.tensor([1.0, 6.5])
    assert torch_cluster.knn(x, y, 1).tolist() == [[0, 1], [0, 2]]
    one, two = torch.tensor([0, 0, 1, 1]), torch.tensor([1, 2])
    assert torch_cluster.knn(x, y, 5, one, two).tolist() == [[0, 0], [2, 3]]
    assert torch_cluster.knn(x, y, 5, None, torch.tensor([0, 1])).tolist() == [[0] * 4, [0, 1, 2, 3]]
    assert torch_cluster.knn(x[:0], y, 5).shape == (2, 0)
    assert torch_cluster.radius(x, y[:0], 1.0).shape == (2, 0)


@pytest.mark.parametrize("flow", ["source_to_target", "target_to_source"])
@pytest.mark.parametrize("loop", [False, True])
@pytest.mark.parametrize("name", CLOUDS)
def test_knn_graph(name: str, loop: bool, flow: str, batches: tuple[Tensor | None, Tensor | None]) -> None:
    x, k = CLOUDS[name][0], 3
    pairs = []
    for rows, _ in clouds(batches[0], batches[0], 24, 24):
        for i, row in enumerate(oracles.squares(x[rows], x[rows])):
            # The row itself, then the others by (distance, index): with duplicates too, exactly k others.
            others = [int(j) for j in row.argsort(stable=True) if j != i]
            chosen = [i, *others][:k] if loop else others[:k]
            pairs += [(int(rows[i]), int(rows[j])) for j in chosen]
    expected = edges(pairs).flip(0) if flow == "source_to_target" else edges(pairs)
    assert torch.equal(torch_cluster.knn_graph(x, k, batches[0], loop, flow), expected)


def test_graphs_of_duplicates_have_all_edges() -> None:
    """torch_cluster gives 15 edges here, because some points are not among their own three nearest."""
    assert torch_cluster.knn_graph(torch.zeros(6, 3), 2).shape == (2, 12)
    assert torch_cluster.radius_graph(torch.zeros(6, 3), 1.0, max_num_neighbors=2).shape == (2, 12)


@pytest.mark.parametrize("table", [2**24, 30])
@pytest.mark.parametrize("same", [False, True])
@pytest.mark.parametrize("limit", [1, 3, 10**9])
@pytest.mark.parametrize("name", CLOUDS)
def test_radius(
    name: str, limit: int, same: bool, table: int, batches: tuple[Tensor | None, Tensor | None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(_packed, "_TABLE", table)
    x, y = CLOUDS[name][0], CLOUDS[name][1, :11]
    r = 2e5 if name == "far" else 1.5
    pairs = []
    for rows_x, rows_y in clouds(*batches, 24, 11):
        for i, found in zip(rows_y.tolist(), oracles.within(x[rows_x], y[rows_y], r), strict=True):
            kept = [j for j in rows_x[found].tolist() if not (same and j == i)]
            pairs += [(i, j) for j in kept[:limit]]
    assert torch.equal(torch_cluster.radius(x, y, r, *batches, limit, ignore_same_index=same), edges(pairs))


@pytest.mark.parametrize("table", [2**24, 30])
@pytest.mark.parametrize("flow", ["source_to_target", "target_to_source"])
@pytest.mark.parametrize("loop", [False, True])
@pytest.mark.parametrize("name", CLOUDS)
def test_radius_graph(
    name: str, loop: bool, flow: str, table: int, batches: tuple[Tensor | None, Tensor | None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(_packed, "_TABLE", table)
    x, r = CLOUDS[name][0], 2e5 if name == "far" else 1.5
    pairs = []
    for rows, _ in clouds(batches[0], batches[0], 24, 24):
        for i, found in enumerate(oracles.within(x[rows], x[rows], r)):
            pairs += [(int(rows[i]), int(rows[j])) for j in [j for j in found if loop or j != i][:4]]
    expected = edges(pairs).flip(0) if flow == "source_to_target" else edges(pairs)
    assert torch.equal(torch_cluster.radius_graph(x, r, batches[0], loop, 4, flow), expected)


@pytest.mark.parametrize("ratio", [None, 0.3, 1.0, torch.tensor(0.25), torch.tensor([0.1, 0.5, 1.0, 0.34])])
@pytest.mark.parametrize("given", ["batch", "ptr", "list", "size"])
@pytest.mark.parametrize("name", CLOUDS)
def test_fps(name: str, ratio: float | Tensor | None, given: str) -> None:
    src, ptr = CLOUDS[name][0], torch.tensor([0, 10, 10, 21, 24])
    options = {
        "batch": {"batch": BATCH_X}, "ptr": {"ptr": ptr}, "list": {"ptr": ptr.tolist()},
        "size": {"batch": BATCH_X, "batch_size": 4},
    }[given]  # fmt: skip
    shares = torch.as_tensor(0.5 if ratio is None else ratio).expand(4)
    expected = []
    for c in range(4):
        rows = (c == BATCH_X).nonzero().flatten()
        count = int((torch.tensor(float(len(rows))) * shares[c]).ceil())
        expected += [int(rows[i]) for i in oracles.farthest(src[rows], count)]
    assert torch_cluster.fps(src, ratio=ratio, random_start=False, **options).tolist() == expected
    torch.manual_seed(3)
    drawn = torch_cluster.fps(src, ratio=ratio, **options)
    assert len(set(drawn.tolist())) == len(expected)
    torch.manual_seed(3)
    assert torch.equal(torch_cluster.fps(src, ratio=ratio, **options), drawn)


def test_fps_far_apart_and_random_starts() -> None:
    """Beyond a squared distance of 5e4 torch_cluster samples by ties on a GPU."""
    src = torch.tensor([0.0, 1.0, 1000.0, 400.0])
    assert torch_cluster.fps(src, ratio=0.75, random_start=False).tolist() == [0, 2, 3]
    starts = {int(torch_cluster.fps(src, ratio=0.25)[0]) for _ in range(60)}
    assert starts == {0, 1, 2, 3}
    assert torch_cluster.fps(src[:0]).shape == (0,)


@pytest.mark.parametrize("name", CLOUDS)
def test_nearest(name: str, batches: tuple[Tensor | None, Tensor | None]) -> None:
    x, y = CLOUDS[name][0], CLOUDS[name][1, :11]
    expected = torch.zeros(24, dtype=torch.int64)
    for rows_x, rows_y in clouds(*batches, 24, 11):
        if len(rows_x) > 0:
            expected[rows_x] = rows_y[oracles.nearest(y[rows_y], x[rows_x], 1)[1][:, 0]]
    assert torch.equal(torch_cluster.nearest(x, y, *batches), expected)


@pytest.mark.parametrize("name", CLOUDS)
@pytest.mark.parametrize("bounded", [False, True])
def test_grid_cluster(name: str, bounded: bool) -> None:
    pos = CLOUDS[name][0]
    size = torch.tensor([0.7, 1.3, 2.0], dtype=torch.float64)
    start, end = (pos.min(0).values - 1.1, pos.max(0).values + 0.4) if bounded else (None, None)
    low = pos.min(0).values if start is None else start
    high = pos.max(0).values if end is None else end
    cells = [int((high[d] - low[d]) / size[d]) + 1 for d in range(3)]
    expected = []
    for point in pos:
        a, b, c = (int((point[d] - low[d]) / size[d]) for d in range(3))
        expected.append(a + cells[0] * (b + cells[1] * c))
    assert torch_cluster.grid_cluster(pos, size, start, end).tolist() == expected
    assert torch_cluster.grid_cluster(pos[:0], size).shape == (0,)


# --- dispatch, compilation --------------------------------------------------------------------------------------------


def test_opcheck() -> None:
    x, y = CLOUDS["random"][0].float(), CLOUDS["random"][1, :11].float()
    ptr_x, ptr_y = torch.tensor([0, 10, 24]), torch.tensor([0, 4, 11])
    operators = torch.ops.pointkernels_compat
    torch.library.opcheck(operators.knn_edges.default, (x, y, ptr_x, ptr_y, 3, False))
    torch.library.opcheck(operators.knn_edges.default, (x, y, None, None, 3, True))
    torch.library.opcheck(operators.radius_edges.default, (x, y, ptr_x, ptr_y, 1.0, 3, False))
    torch.library.opcheck(operators.fps_rows.default, (x, ptr_x, torch.tensor(0.5), False))
    torch.library.opcheck(operators.nearest_rows.default, (x, y, ptr_x, ptr_y))


@pytest.mark.parametrize("size", [None, 4])
def test_compiles_as_a_whole(size: int | None) -> None:
    def everything(x: Tensor, y: Tensor, batch_x: Tensor, batch_y: Tensor) -> tuple[Tensor, ...]:
        near = torch_cluster.knn(x, y, 3, batch_x, batch_y, batch_size=size)
        graph = torch_cluster.knn_graph(x, 3, batch_x, batch_size=size)
        ball = torch_cluster.radius(x, y, 1.0, batch_x, batch_y, batch_size=size)
        linked = torch_cluster.radius_graph(x, 1.0, batch_x, batch_size=size)
        samples = torch_cluster.fps(x, batch_x, random_start=False, batch_size=size)
        cells = torch_cluster.grid_cluster(x, torch.ones(3))
        return near, graph, ball, linked, x[samples], torch_cluster.nearest(x, y, batch_x, batch_y), cells

    arguments = (CLOUDS["random"][0].float(), CLOUDS["random"][1, :11].float(), BATCH_X, BATCH_Y)
    compiled = torch.compile(everything, fullgraph=True, backend="aot_eager")
    for got, expected in zip(compiled(*arguments), everything(*arguments), strict=True):
        assert torch.equal(got, expected)


def test_autocast_and_gradient_mode() -> None:
    x = CLOUDS["random"][0].float().requires_grad_()
    expected = torch_cluster.knn_graph(x.detach().bfloat16().float(), 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(torch_cluster.knn_graph(x, 3), torch_cluster.knn_graph(x.detach(), 3))
        assert torch.equal(torch_cluster.knn_graph(x.bfloat16(), 3), expected)
    assert not torch_cluster.knn(x, x, 3).requires_grad


# --- errors -----------------------------------------------------------------------------------------------------------

X, B = torch.zeros(4, 3), torch.tensor([0, 0, 1, 1])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: torch_cluster.knn([1], X, 1), TypeError, "x must be a tensor of shape (N, F), got list"),
        (lambda: torch_cluster.knn(X[None], X, 1), ValueError, "x must have shape (N, F), got (1, 4, 3)"),
        (
            lambda: torch_cluster.knn(X, X[:, :2], 1),
            ValueError,
            "x and y must have as many coordinates, at least one, got 3 and 2",
        ),
        (lambda: torch_cluster.knn(X, X, 0), ValueError, "k must be at least 1, got 0"),
        (
            lambda: torch_cluster.knn(X, X.double(), 1),
            TypeError,
            "y must have the dtype of x, torch.float32, got torch.float64",
        ),
        (lambda: torch_cluster.knn(X, X, 1, B.float(), B), TypeError, "batch_x must be int64, got torch.float32"),
        (lambda: torch_cluster.knn(X, X, 1, B, B[:3]), ValueError, "batch_y must have shape (4,), got (3,)"),
        (
            lambda: torch_cluster.knn(X, X, 1, B.flip(0), B),
            ValueError,
            "batch_x must be sorted and not negative, got other values",
        ),
        (
            lambda: torch_cluster.knn_graph(X, 1, B, batch_size=1),
            ValueError,
            "batch_x must be below batch_size, 1, got 1",
        ),
        (
            lambda: torch_cluster.knn_graph(X, 1, flow="up"),
            ValueError,
            'flow must be "source_to_target" or "target_to_source", got \'up\'',
        ),
        (lambda: torch_cluster.radius(X, X, -1.0), ValueError, "r must be at least 0, got -1.0"),
        (
            lambda: torch_cluster.radius_graph(X, 1.0, max_num_neighbors=0),
            ValueError,
            "max_num_neighbors must be at least 1, got 0",
        ),
        (lambda: torch_cluster.fps(X, ratio=0.0), ValueError, "ratio must lie in (0, 1], got 0.0"),
        (lambda: torch_cluster.fps(X, ratio=1.5), ValueError, "ratio must lie in (0, 1], got 1.5"),
        (
            lambda: torch_cluster.fps(X, B, torch.ones(3)),
            ValueError,
            "ratio must be a number or have shape (2,), got (3,)",
        ),
        (
            lambda: torch_cluster.nearest(X, X[:2], B, torch.tensor([0, 0])),
            ValueError,
            "every cloud of x must have a row in y, got one without",
        ),
        (
            lambda: torch_cluster.grid_cluster(X, torch.ones(2)),
            ValueError,
            "size must be a tensor of shape (3,), got (2,)",
        ),
    ],
)
def test_errors(call: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == message
