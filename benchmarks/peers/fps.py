"""Every way to sample farthest points that is compared: in plain PyTorch, and by the libraries that are installed.

Each builder returns contenders whose result is (B, M) indices in the order of sampling, from whatever first point.
Bucket methods need a height that nobody chooses for the user; all of `HEIGHTS` are measured, and tables show the best.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np
import torch
from harness.contenders import Contender, LeftOut, Settings, ours, require, require_device
from torch import Tensor

import pointkernels

HEIGHTS = (3, 5, 7, 9)


def pointkernels_fps(points: Tensor, samples: int, settings: Settings) -> list[Contender]:
    """The operator of this project."""
    return ours(lambda: pointkernels.farthest_point_sampling(points, samples), settings)


def _step(points: Tensor, cloud: Tensor, nearest: Tensor, farthest: Tensor) -> tuple[Tensor, Tensor]:
    """Distances to the nearest sample after one more sample, and the next one."""
    center = points[cloud, farthest][:, None]
    nearest = torch.minimum(nearest, ((points - center) ** 2).sum(dim=-1))
    return nearest, nearest.argmax(dim=-1)


def _loop(points: Tensor, samples: int, step: Callable[..., tuple[Tensor, Tensor]] = _step) -> Tensor:
    """The loop of PointNet++ in PyTorch: one pass over all points for each sample."""
    batch, count, _ = points.shape
    chosen = torch.zeros(batch, samples, dtype=torch.int64, device=points.device)
    nearest = torch.full((batch, count), torch.inf, device=points.device)
    farthest = torch.zeros(batch, dtype=torch.int64, device=points.device)
    cloud = torch.arange(batch, device=points.device)
    for sample in range(samples):
        chosen[:, sample] = farthest
        nearest, farthest = step(points, cloud, nearest, farthest)
    return chosen


def torch_loop(points: Tensor, samples: int, settings: Settings) -> Contender:
    """What projects without a compiled kernel do."""
    _require_short_loop(points, samples, settings)
    return Contender("torch loop", lambda: _loop(points, samples), "torch")


def torch_loop_compiled(points: Tensor, samples: int, settings: Settings) -> Contender:
    """The same, its step compiled; the whole loop would unroll into as many steps as there are samples."""
    if not settings.compiled:
        raise LeftOut("asked for with --compile")
    _require_short_loop(points, samples, settings)
    torch.compiler.reset()
    step = torch.compile(_step, dynamic=False)
    return Contender("torch.compile of its step", lambda: _loop(points, samples, step), "torch", compiles=True)


def _require_short_loop(points: Tensor, samples: int, settings: Settings) -> None:
    """Raise LeftOut where the loop would take minutes: a CPU waits for the points, a GPU for the launches."""
    on_cpu = settings.device == "cpu" and points.shape[0] * points.shape[1] * samples > 5e8
    if on_cpu or samples > 20_000:
        raise LeftOut("its loop would take minutes")


def _numpy_clouds(points: Tensor, settings: Settings) -> list[Any]:
    require_device(settings, "cpu")
    return [np.ascontiguousarray(cloud) for cloud in points.numpy()]


def _each(sample: Callable[[Any], Any], clouds: list[Any]) -> list[Any]:
    return [sample(cloud) for cloud in clouds]


def _stacked(indices: list[Any]) -> Tensor:
    return torch.from_numpy(np.stack(indices).astype(np.int64))


def fpsample_bucket(points: Tensor, samples: int, settings: Settings) -> Iterable[Contender]:
    """Bucket sampling over k-d lines (QuickFPS) of fpsample. It does not start at the start_idx that it is given."""
    module = require("fpsample")
    clouds = _numpy_clouds(points, settings)
    for height in HEIGHTS:
        if 2**height >= points.shape[1]:
            continue
        yield Contender(
            f"fpsample bucket kdline h={height}",
            partial(
                _each, partial(module.bucket_fps_kdline_sampling, n_samples=samples, h=height, start_idx=0), clouds
            ),
            "fpsample",
            family="fpsample bucket kdline",
            result=_stacked,
        )


def fpsample_plain(points: Tensor, samples: int, settings: Settings) -> Contender:
    """The plain loop of fpsample, compiled."""
    module = require("fpsample")
    clouds = _numpy_clouds(points, settings)
    if points.shape[1] * samples > 1e10:
        raise LeftOut("its loop would take minutes")
    sample = partial(module.fps_sampling, n_samples=samples, start_idx=0)
    return Contender("fpsample plain", partial(_each, sample, clouds), "fpsample", result=_stacked)


def torch_fpsample(points: Tensor, samples: int, settings: Settings) -> Iterable[Contender]:
    """Bucket sampling of torch_fpsample, parallel over clouds; start_idx as in fpsample."""
    module = require("torch_fpsample")
    require_device(settings, "cpu")
    for height in HEIGHTS:
        yield Contender(
            f"torch_fpsample h={height}",
            partial(module.sample, points, samples, h=height, start_idx=0),
            "torch_fpsample",
            family="torch_fpsample",
            result=lambda sampled: sampled[1],
        )


def torch_quickfps(points: Tensor, samples: int, settings: Settings) -> Iterable[Contender]:
    """Bucket sampling of torch_quickfps, parallel over clouds, on CPU and CUDA."""
    module = require("torch_quickfps")
    for height in HEIGHTS:
        yield Contender(
            f"torch_quickfps h={height}",
            partial(module.sample_idx, points, samples, h=height, start_idx=0),
            "torch-quickfps",
            family="torch_quickfps",
        )


def torch_cluster(points: Tensor, samples: int, settings: Settings) -> Contender:
    """torch_cluster, which takes a batch vector and a ratio."""
    module = require("torch_cluster")
    batch, count, channels = points.shape
    flat = points.reshape(-1, channels)
    cloud = torch.arange(batch, device=points.device).repeat_interleave(count)
    first = (torch.arange(batch, device=points.device) * count)[:, None]
    ratio = (samples - 0.5) / count  # it samples ceil(ratio * count) points, and the ratio is rounded to float32
    return Contender(
        "torch_cluster fps", lambda: module.fps(flat, cloud, ratio=ratio, random_start=False), "torch-cluster",
        result=lambda chosen: chosen.view(batch, samples) - first,
    )  # fmt: skip


def pytorch3d(points: Tensor, samples: int, settings: Settings) -> Contender:
    """sample_farthest_points of PyTorch3D."""
    operators = require("pytorch3d.ops")
    return Contender(
        "pytorch3d sample_farthest_points", lambda: operators.sample_farthest_points(points, K=samples)[1], "pytorch3d"
    )


BUILDERS: dict[str, Callable[[Tensor, int, Settings], Contender | Iterable[Contender]]] = {
    "pointkernels": pointkernels_fps,
    "torch loop": torch_loop,
    "torch.compile of its step": torch_loop_compiled,
    "fpsample bucket kdline": fpsample_bucket,
    "fpsample plain": fpsample_plain,
    "torch_fpsample": torch_fpsample,
    "torch_quickfps": torch_quickfps,
    "torch_cluster": torch_cluster,
    "pytorch3d": pytorch3d,
}
