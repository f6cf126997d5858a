"""A DGCNN classifier written the usual way, made fast by one line: equal outputs, equal gradients, measured speed-up.

    python examples/dgcnn_classifier.py [--points 1024] [--clouds 8] [--repeats 5]

`DGCNN` and `get_graph_feature` below are what such projects have in their model.py; nothing of it is changed.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pointkernels.compat.dgcnn import fuse_edge_convs, fused_edge_convs


def knn(x: Tensor, k: int) -> Tensor:
    """Neighbours by the matrix of all distances, as usual."""
    products = torch.matmul(x.transpose(2, 1), x)
    squares = (x**2).sum(dim=1, keepdim=True)
    return (2 * products - squares - squares.transpose(2, 1)).topk(k, dim=-1)[1]


def get_graph_feature(x: Tensor, k: int = 20, idx: Tensor | None = None) -> Tensor:
    """Edge features (B, 2 C, N, k), the tensor that costs the time and the memory."""
    batch_size, num_points = x.size(0), x.size(2)
    x = x.reshape(batch_size, -1, num_points)
    if idx is None:
        idx = knn(x, k=k)
    first = torch.arange(batch_size, device=x.device).view(-1, 1, 1) * num_points
    points = x.transpose(2, 1).contiguous()
    neighbors = points.view(batch_size * num_points, -1)[(idx + first).view(-1)]
    neighbors = neighbors.view(batch_size, num_points, idx.size(2), -1)
    centers = points.unsqueeze(2).expand_as(neighbors)
    return torch.cat((neighbors - centers, centers), dim=3).permute(0, 3, 1, 2).contiguous()


class DGCNN(nn.Module):
    """Dynamic Graph CNN for classification (Wang et al., 2019), written the usual way."""

    def __init__(self, num_classes: int = 40, k: int = 20) -> None:
        super().__init__()
        self.k = k
        self.bn1, self.bn2 = nn.BatchNorm2d(64), nn.BatchNorm2d(64)
        self.bn3, self.bn4 = nn.BatchNorm2d(128), nn.BatchNorm2d(256)
        self.bn5 = nn.BatchNorm1d(1024)
        self.conv1 = nn.Sequential(nn.Conv2d(6, 64, 1, bias=False), self.bn1, nn.LeakyReLU(0.2))
        self.conv2 = nn.Sequential(nn.Conv2d(128, 64, 1, bias=False), self.bn2, nn.LeakyReLU(0.2))
        self.conv3 = nn.Sequential(nn.Conv2d(128, 128, 1, bias=False), self.bn3, nn.LeakyReLU(0.2))
        self.conv4 = nn.Sequential(nn.Conv2d(256, 256, 1, bias=False), self.bn4, nn.LeakyReLU(0.2))
        self.conv5 = nn.Sequential(nn.Conv1d(512, 1024, 1, bias=False), self.bn5, nn.LeakyReLU(0.2))
        self.linear = nn.Linear(2048, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Class scores (B, num_classes) of clouds (B, 3, N)."""
        batch_size = x.size(0)
        x = get_graph_feature(x, k=self.k)
        x = self.conv1(x)
        x1 = x.max(dim=-1, keepdim=False)[0]

        x = get_graph_feature(x1, k=self.k)
        x = self.conv2(x)
        x2 = x.max(dim=-1, keepdim=False)[0]

        x = get_graph_feature(x2, k=self.k)
        x = self.conv3(x)
        x3 = x.max(dim=-1, keepdim=False)[0]

        x = get_graph_feature(x3, k=self.k)
        x = self.conv4(x)
        x4 = x.max(dim=-1, keepdim=False)[0]

        x = self.conv5(torch.cat((x1, x2, x3, x4), dim=1))
        x1 = F.adaptive_max_pool1d(x, 1).view(batch_size, -1)
        x2 = F.adaptive_avg_pool1d(x, 1).view(batch_size, -1)
        return self.linear(torch.cat((x1, x2), dim=1))


def train_step(model: nn.Module, clouds: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Scores, and the gradient that reached the first convolution."""
    model.zero_grad()
    scores = model(clouds)
    F.cross_entropy(scores, labels).backward()
    return scores.detach(), model.conv1[0].weight.grad.clone()


def main(arguments: list[str] | None = None) -> float:
    """Compare both models and return how many times faster the fused one makes a training step."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=1024)
    parser.add_argument("--clouds", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args(arguments)

    torch.manual_seed(0)
    clouds, labels = torch.randn(options.clouds, 3, options.points), torch.randint(0, 40, (options.clouds,))
    usual = DGCNN()
    model = copy.deepcopy(usual)
    # Compared in float64, where rounding cannot make the two choose different neighbours of learned features.
    usual_exact, exact = copy.deepcopy(usual).double(), copy.deepcopy(usual).double()
    expected, expected_grad = train_step(usual_exact, clouds.double(), labels)
    usual_seconds = seconds(usual, clouds, labels, options.repeats)

    model = fuse_edge_convs(model)  # <- the one line

    print("fused:", ", ".join(fused_edge_convs(model)))
    fused_seconds = seconds(model, clouds, labels, options.repeats)
    scores, grad = train_step(fuse_edge_convs(exact), clouds.double(), labels)
    torch.testing.assert_close(scores, expected)
    torch.testing.assert_close(grad, expected_grad)
    assert model.state_dict().keys() == usual.state_dict().keys()
    difference = (scores - expected).abs().max(), (grad - expected_grad).abs().max()
    print("largest difference of the scores: {:.1e}, of the gradient: {:.1e}".format(*difference))
    ratio = usual_seconds / fused_seconds
    print(
        f"a training step of {options.clouds} x {options.points} points on {torch.get_num_threads()} CPU threads: "
        f"{usual_seconds:.3f} s usual, {fused_seconds:.3f} s fused, {ratio:.1f} times faster"
    )
    return ratio


def seconds(model: nn.Module, clouds: Tensor, labels: Tensor, repeats: int) -> float:
    """The median time of a training step, after one to warm up."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        train_step(model, clouds, labels)
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


if __name__ == "__main__":
    main()
