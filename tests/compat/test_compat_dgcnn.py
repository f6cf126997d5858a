"""`pointkernels.compat.dgcnn` against the definition in DGCNN's own terms: matrix of squared distances and topk."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import pointkernels
from pointkernels.compat import dgcnn


def negative_squared_distances(x: Tensor) -> Tensor:
    return -torch.cdist(x.transpose(1, 2), x.transpose(1, 2), compute_mode="donot_use_mm_for_euclid_dist").square()


def test_knn_is_topk_of_the_distance_matrix() -> None:
    x = torch.randn(2, 3, 64, dtype=torch.float64)
    assert torch.equal(dgcnn.knn(x, 9), negative_squared_distances(x).topk(9, dim=-1).indices)
    assert torch.equal(dgcnn.knn(x, k=9)[:, :, 0], torch.arange(64).expand(2, 64))


def test_graph_feature_is_difference_and_centre() -> None:
    x = torch.randn(2, 5, 40)
    feature = dgcnn.get_graph_feature(x, k=6)
    assert feature.shape == (2, 10, 40, 6)
    assert feature.is_contiguous()
    idx = dgcnn.knn(x, 6)
    for b, i, s in ((0, 0, 0), (1, 17, 3), (1, 39, 5)):
        j = idx[b, i, s]
        assert torch.equal(feature[b, :, i, s], torch.cat([x[b, :, j] - x[b, :, i], x[b, :, i]]))


def test_given_neighbours_and_extra_dimensions() -> None:
    x, idx = torch.randn(2, 5, 40), torch.randint(0, 40, (2, 40, 3))
    assert torch.equal(dgcnn.get_graph_feature(x, idx=idx), dgcnn.get_graph_feature(x, 3, idx))
    folded = torch.randn(2, 5, 40, 1)
    assert torch.equal(dgcnn.get_graph_feature(folded, k=4), dgcnn.get_graph_feature(folded.squeeze(3), k=4))
    assert dgcnn.get_graph_feature(x).shape == (2, 10, 40, 20)


def test_gradient_is_that_of_plain_indexing() -> None:
    x = torch.randn(1, 2, 7, dtype=torch.float64, requires_grad=True)
    idx = pointkernels.knn(x.detach().transpose(1, 2), 3)
    assert torch.autograd.gradcheck(lambda x: dgcnn.get_graph_feature(x, 3, idx), (x,))


def test_compiles_and_autocasts() -> None:
    x = torch.randn(2, 3, 30)
    compiled = torch.compile(dgcnn.get_graph_feature, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(x, 4), dgcnn.get_graph_feature(x, 4))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(dgcnn.knn(x, 4), dgcnn.knn(x, 4))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: dgcnn.knn(torch.zeros(2, 3), 1), ValueError, "x must have shape (B, C, N), got (2, 3)"),
        (lambda: dgcnn.knn([1], 1), TypeError, "x must be a tensor of shape (B, C, N), got list"),
        (lambda: dgcnn.knn(torch.zeros(1, 3, 4), 5), ValueError, "k must be at most the number of points, 4, got 5"),
        (lambda: dgcnn.get_graph_feature(torch.zeros(1, 3, 4), 0), ValueError, "k must be at least 1, got 0"),
        (
            lambda: dgcnn.get_graph_feature(torch.zeros(1, 3, 4), 2, torch.full((1, 4, 2), 4)),
            ValueError,
            "neighbors must be -1 or lie in [0, 4), got 4",
        ),
        (
            lambda: dgcnn.get_graph_feature(torch.zeros(2, 3), 2),
            ValueError,
            "x must have shape (B, C, N, ...), got (2, 3)",
        ),
    ],
)
def test_errors(call: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        call()  # type: ignore[operator]
    assert str(caught.value) == message
