"""`pointkernels.compat.pytorch3d`: every documented argument against plain torch."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import oracles
import pytest
import torch
from oracles import CLOUDS
from torch import Tensor
from torch.nn import functional as F

from pointkernels.compat import _l1, pytorch3d

LENGTHS1, LENGTHS2 = torch.tensor([9, 0]), torch.tensor([24, 2])


def queries(name: str) -> Tensor:
    return CLOUDS[name][:, 5:16].contiguous()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("norm", [1, 2])
@pytest.mark.parametrize("name", CLOUDS)
@pytest.mark.parametrize("ragged", [False, True])
def test_knn_points(name: str, norm: int, ragged: bool, dtype: torch.dtype) -> None:
    p1, p2 = queries(name), CLOUDS[name]
    lengths1, lengths2 = (LENGTHS1, LENGTHS2) if ragged else (None, None)
    got = pytorch3d.knn_points(p1.to(dtype), p2.to(dtype), lengths1, lengths2, norm, 5, -1, True, True)
    assert got.dists.dtype == dtype
    assert got.idx.dtype == torch.int64
    for b in range(2):
        n1, n2 = (int(LENGTHS1[b]), int(LENGTHS2[b])) if ragged else (11, 24)
        dists, idx = oracles.nearest(p2[b, :n2], p1[b, :n1], 5, norm)
        found = idx.shape[1]
        assert torch.equal(got.idx[b, :n1, :found], idx)
        torch.testing.assert_close(got.dists[b, :n1, :found].double(), dists, rtol=1e-5, atol=1e-6)
        assert got.knn is not None
        assert torch.equal(got.knn[b, :n1, :found], p2.to(dtype)[b][idx])
        for rest in (got.dists[b, n1:], got.dists[b, :, found:], got.idx[b, n1:], got.idx[b, :, found:]):
            assert bool((rest == 0).all())
        assert bool((got.knn[b, n1:] == 0).all())
        assert bool((got.knn[b, :, found:] == 0).all())


def test_knn_points_defaults_and_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    p = CLOUDS["random"]
    got = pytorch3d.knn_points(p, p)
    assert got.dists.shape == got.idx.shape == (2, 24, 1)
    assert got.knn is None
    assert got._fields == ("dists", "idx", "knn")
    whole = pytorch3d.knn_points(p, p, norm=1, K=30)
    monkeypatch.setattr(_l1, "_CHUNK", 100)
    assert torch.equal(pytorch3d.knn_points(p, p, norm=1, K=30).idx, whole.idx)


def test_squared_distances_above_the_usual_caps() -> None:
    """Other libraries lose neighbours beyond 1e10; these are beyond 1e20."""
    p = torch.tensor([[[0.0, 0, 0], [2e10, 0, 0], [-9e10, 0, 0]]])
    assert torch.equal(pytorch3d.knn_points(p, p, K=3).idx[0], torch.tensor([[0, 1, 2], [1, 0, 2], [2, 0, 1]]))


@pytest.mark.parametrize("lengths", [None, torch.tensor([24, 3])])
def test_knn_gather(lengths: Tensor | None) -> None:
    x, idx = CLOUDS["random"], torch.randint(0, 3, (2, 7, 5))
    got = pytorch3d.knn_gather(x, idx, lengths)
    integers = pytorch3d.knn_gather((x * 1000).long(), idx, lengths)
    for b in range(2):
        size = 24 if lengths is None else int(lengths[b])
        for k in range(5):
            expected = x[b][idx[b, :, k]] if k < size else torch.zeros(7, 3, dtype=x.dtype)
            assert torch.equal(got[b, :, k], expected)
            assert torch.equal(integers[b, :, k], (expected * 1000).long())


@pytest.mark.parametrize("name", CLOUDS)
@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("skip", [False, True])
def test_ball_query(name: str, ragged: bool, skip: bool) -> None:
    p1, p2 = queries(name), CLOUDS[name]
    radius = 1e5 if name == "far" else 1.5
    lengths1, lengths2 = (LENGTHS1, LENGTHS2) if ragged else (None, None)
    got = pytorch3d.ball_query(p1, p2, lengths1, lengths2, 4, radius, True, skip)
    assert got.knn is not None
    for b in range(2):
        n1, n2 = (int(LENGTHS1[b]), int(LENGTHS2[b])) if ragged else (11, 24)
        expected = oracles.within(p2[b, :n2], p1[b, :n1], radius) + [[]] * (11 - n1)
        for i, neighbors in enumerate(expected):
            found = neighbors[:4]
            assert got.idx[b, i].tolist() == found + [-1] * (4 - len(found))
            torch.testing.assert_close(got.dists[b, i, : len(found)], (p2[b, found] - p1[b, i]).square().sum(1))
            assert bool((got.dists[b, i, len(found) :] == 0).all())
            assert torch.equal(got.knn[b, i], F.pad(p2[b, found], (0, 0, 0, 4 - len(found))))
    defaults = pytorch3d.ball_query(p1, p2)
    assert defaults.idx.shape == (2, 11, 500)
    assert pytorch3d.ball_query(p1, p2, return_nn=False).knn is None


@pytest.mark.parametrize("name", CLOUDS)
@pytest.mark.parametrize("lengths", [None, torch.tensor([24, 3], dtype=torch.int32)])
@pytest.mark.parametrize("count", [6, [6, 2], torch.tensor([1, 9]), 30])
def test_sample_farthest_points(name: str, lengths: Tensor | None, count: int | list[int] | Tensor) -> None:
    points = CLOUDS[name]
    got, idx = pytorch3d.sample_farthest_points(points, lengths, count)
    counts = [count] * 2 if isinstance(count, int) else list(count)
    for b in range(2):
        size = 24 if lengths is None else int(lengths[b])
        expected = oracles.farthest(points[b, :size], min(size, int(counts[b])))
        padding = int(max(counts)) - len(expected)
        assert idx[b].tolist() == expected + [-1] * padding
        assert torch.equal(got[b], F.pad(points[b, expected], (0, 0, 0, padding)))


def test_sample_farthest_points_from_a_random_start() -> None:
    points = CLOUDS["random"]
    starts = set()
    for seed in range(20):
        torch.manual_seed(seed)
        _, idx = pytorch3d.sample_farthest_points(points, torch.tensor([24, 3]), 3, random_start_point=True)
        assert idx[0].tolist() == oracles.farthest(points[0], 3, int(idx[0, 0]))
        starts.add(int(idx[0, 0]))
        assert int(idx[1, 0]) < 3
    assert len(starts) > 5
    assert pytorch3d.sample_farthest_points(torch.randn(1, 60, 3))[1].shape == (1, 50)
    assert pytorch3d.sample_farthest_points(torch.randn(2, 0, 3), K=2)[1].tolist() == [[-1, -1]] * 2


def chamfer_oracle(
    x: Tensor, y: Tensor, x_sizes: list[int], y_sizes: list[int], normals: tuple[Tensor, Tensor], weights: list[float],
    batch: str | None, point: str, norm: int, single: bool, absolute: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    def one_way(a: Tensor, b: Tensor, sizes: list[int], others: list[int], n: tuple[Tensor, Tensor]) -> list[Tensor]:
        results = []
        for c, (size, other) in enumerate(zip(sizes, others, strict=True)):
            zero = torch.zeros(size, dtype=a.dtype)
            dists, cosines = zero, zero if size == 0 or other == 0 else None
            if other > 0 and size > 0:
                found, idx = oracles.nearest(b[c, :other], a[c, :size], 1, norm)
                dists = found[:, 0]
                cosines = F.cosine_similarity(n[0][c, :size], n[1][c][idx[:, 0]], dim=1)
                cosines = 1 - (cosines.abs() if absolute else cosines)
            elif size > 0:
                cosines = torch.ones(size, dtype=a.dtype)  # a normal against the zeros of padding
            reduce = {
                "mean": lambda v: v.sum() / max(len(v), 1),
                "sum": torch.sum,
                "max": lambda v: F.pad(v, (0, 1)).max(),
            }
            results.append(torch.stack([reduce[point](dists), reduce[point](cosines)]) * weights[c])
        values = torch.stack(results, dim=1)
        if batch is None:
            return list(values)
        total = values.sum(1)
        return list(total / (sum(weights) or 1) if batch == "mean" else total)

    there = one_way(x, y, x_sizes, y_sizes, normals)
    if single:
        return there[0], there[1]
    back = one_way(y, x, y_sizes, x_sizes, normals[::-1])  # type: ignore[arg-type]
    if point == "max":
        return torch.maximum(there[0], back[0]), there[1]
    return there[0] + back[0], there[1] + back[1]


@pytest.mark.parametrize("batch", ["mean", "sum", None])
@pytest.mark.parametrize("point", ["mean", "sum", "max"])
@pytest.mark.parametrize("norm", [1, 2])
@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize("case", ["plain", "ragged", "weighted", "zero", "objects"])
def test_chamfer_distance(batch: str | None, point: str, norm: int, single: bool, case: str) -> None:
    x, y = queries("random"), CLOUDS["random"][:, 14:]
    normals = torch.randn_like(x), torch.randn_like(y)
    ragged, absolute = case in ("ragged", "weighted", "objects"), case != "ragged"
    x_sizes, y_sizes = ([9, 0], [10, 2]) if ragged else ([11, 11], [10, 10])
    weights = {"weighted": [0.5, 2.0], "zero": [0.0, 0.0]}.get(case)
    options = {
        "weights": None if weights is None else torch.tensor(weights, dtype=x.dtype), "batch_reduction": batch,
        "point_reduction": point, "norm": norm, "single_directional": single, "abs_cosine": absolute,
    }  # fmt: skip
    lengths = (torch.tensor(x_sizes), torch.tensor(y_sizes)) if ragged else (None, None)
    with_normals = normals if point != "max" else (None, None)
    if case == "objects":
        x_cloud, y_cloud = (
            SimpleNamespace(
                points_padded=lambda p=p: p, num_points_per_cloud=lambda s=s: s, normals_padded=lambda n=n: n
            )
            for p, s, n in ((x, lengths[0], with_normals[0]), (y, lengths[1], with_normals[1]))
        )
        got = pytorch3d.chamfer_distance(x_cloud, y_cloud, **options)
    else:
        got = pytorch3d.chamfer_distance(x, y, *lengths, *with_normals, **options)
    expected = chamfer_oracle(
        x, y, x_sizes, y_sizes, normals, weights or [1.0, 1.0], batch, point, norm, single, absolute
    )
    torch.testing.assert_close(got[0], expected[0])
    if point == "max":
        assert got[1] is None
    else:
        torch.testing.assert_close(got[1], expected[1])


def test_chamfer_distance_without_point_reduction() -> None:
    x, y, lengths = queries("random"), CLOUDS["random"], torch.tensor([11, 4])
    normals = torch.randn_like(x), torch.randn_like(y)
    (there, back), cosines = pytorch3d.chamfer_distance(
        x, y, lengths, None, *normals, batch_reduction=None, point_reduction=None
    )
    for b, size in enumerate(lengths.tolist()):
        torch.testing.assert_close(there[b, :size], oracles.nearest(y[b], x[b, :size], 1)[0][:, 0])
        torch.testing.assert_close(back[b], oracles.nearest(x[b, :size], y[b], 1)[0][:, 0])
    assert bool((there[1, 4:] == 0).all())
    assert bool((cosines[0][1, 4:] == 0).all())
    assert cosines[1].shape == (2, 24)
    only, none = pytorch3d.chamfer_distance(x, y, batch_reduction=None, point_reduction=None, single_directional=True)
    torch.testing.assert_close(only[0], there[0])
    assert none is None
    assert pytorch3d.chamfer_distance(x, y, batch_reduction=None, point_reduction=None)[1] is None


@pytest.mark.parametrize("norm", [1, 2])
def test_gradients(norm: int) -> None:
    p1, p2 = CLOUDS["random"][:, :4].clone().requires_grad_(), CLOUDS["random"][:, 4:11].clone().requires_grad_()
    lengths = torch.tensor([7, 2])
    normals = torch.randn(2, 4, 3, dtype=p1.dtype), torch.randn(2, 7, 3, dtype=p1.dtype)
    checks: list[Callable[..., Tensor]] = [
        lambda a, b: pytorch3d.knn_points(a, b, lengths2=lengths, norm=norm, K=3).dists,
        lambda a, b: pytorch3d.knn_points(a, b, lengths2=lengths, norm=norm, K=3, return_nn=True).knn,
        lambda a, b: pytorch3d.ball_query(a, b, K=3, radius=1.9).dists,
        lambda a, b: pytorch3d.chamfer_distance(a, b, None, lengths, *normals, norm=norm)[0],
        lambda a, b: pytorch3d.sample_farthest_points(b, lengths, 3)[0] + a.sum(),
    ]
    for check in checks:
        assert torch.autograd.gradcheck(check, (p1, p2))


def test_compiles_and_autocasts() -> None:
    p1, p2 = queries("random").float(), CLOUDS["random"].float()

    def everything(p1: Tensor, p2: Tensor) -> tuple[Tensor, ...]:
        dists, idx, nn = pytorch3d.knn_points(p1, p2, LENGTHS1, LENGTHS2, K=3, return_nn=True)
        samples, _ = pytorch3d.sample_farthest_points(p2, K=[4, 6])
        loss, _ = pytorch3d.chamfer_distance(p1, p2, weights=torch.tensor([1.0, 2.0]))
        manhattan = pytorch3d.knn_points(p1, p2, norm=1, K=2)[0]
        return dists, nn, pytorch3d.knn_gather(p2, idx), pytorch3d.ball_query(p1, p2).dists, samples, loss, manhattan

    expected = everything(p1, p2)
    compiled = torch.compile(everything, fullgraph=True, backend="aot_eager")(p1, p2)
    for got, wanted in zip(compiled, expected, strict=True):
        torch.testing.assert_close(got, wanted)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for got, wanted in zip(everything(p1, p2), expected, strict=True):
            torch.testing.assert_close(got, wanted)


P = torch.zeros(2, 5, 3)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: pytorch3d.knn_points(P, P, norm=3), ValueError, "norm must be 1 or 2, got 3"),
        (lambda: pytorch3d.knn_points(P, P, K=0), ValueError, "k must be at least 1, got 0"),
        (lambda: pytorch3d.knn_points(P, P, K=0, norm=1), ValueError, "k must be at least 1, got 0"),
        (lambda: pytorch3d.knn_points(P, P.double()), TypeError, "query must have the dtype of points"),
        (lambda: pytorch3d.knn_points(P, P[:1]), ValueError, "query must have as many clouds and coordinates"),
        (lambda: pytorch3d.knn_gather(P, P[0]), ValueError, "idx must have shape (N, L, K), got (5, 3)"),
        (lambda: pytorch3d.knn_gather(P, P), TypeError, "neighbors must be int64, got torch.float32"),
        (lambda: pytorch3d.ball_query(P, P, radius=-1), ValueError, "radius must be at least 0, got -1"),
        (lambda: pytorch3d.sample_farthest_points(P, K=0), ValueError, "K must be at least 1, got 0"),
        (lambda: pytorch3d.sample_farthest_points(P, K=[1]), ValueError, "K must have shape (2,), got (1,)"),
        (lambda: pytorch3d.sample_farthest_points(P, K=1.5), TypeError, "K must be an int, got float"),
        (
            lambda: pytorch3d.chamfer_distance(P, P, point_reduction="min"),
            ValueError,
            'point_reduction must be "mean", "sum", "max" or None, got \'min\'',
        ),
        (
            lambda: pytorch3d.chamfer_distance(P, P, batch_reduction="max"),
            ValueError,
            'batch_reduction must be "mean", "sum" or None, got \'max\'',
        ),
        (
            lambda: pytorch3d.chamfer_distance(P, P, point_reduction=None),
            ValueError,
            "batch_reduction must be None when point_reduction is None, got 'mean'",
        ),
        (
            lambda: pytorch3d.chamfer_distance(P, P, x_normals=P, y_normals=P, point_reduction="max"),
            ValueError,
            'point_reduction must not be "max" with normals, got normals',
        ),
        (
            lambda: pytorch3d.chamfer_distance(P, P, weights=torch.tensor([1.0, -1.0])),
            ValueError,
            "weights must not be negative, got -1.0",
        ),
        (
            lambda: pytorch3d.chamfer_distance(P, P, weights=torch.ones(3)),
            ValueError,
            "weights must have shape (2,), got (3,)",
        ),
    ],
)
def test_errors(call: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value).startswith(message)
