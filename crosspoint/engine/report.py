"""What a run says about itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.table import Table

from crosspoint.config.pretrain import Config, ModelConfig
from crosspoint.engine.atomic import replacing
from crosspoint.engine.distributed import World


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Writes a JSON file atomically.

    Raises:
        OSError: If it cannot be written.
    """
    with replacing(path, "a results file") as file:
        file.write((json.dumps(content, indent=2) + "\n").encode())


def settings_table(config: Config, world: World) -> Table:
    """The settings that matter most, as a small table."""
    data, model, optimisation = config.data, config.model, config.optimisation
    table = Table(title="settings", show_header=False)
    rows = {
        "data": f"{data.dataset}, {data.num_points} points, views of {data.image_size} pixels",
        "cloud encoder": _cloud_encoder(model),
        "image encoder": model.resnet_weights
        or f"ResNet-{model.resnet}, stem width {model.resnet_width}, random start",
        "optimisation": f"{optimisation.epochs} epochs, batch {optimisation.batch_size}, Adam "
        f"{optimisation.learning_rate:g}, temperature {optimisation.temperature:g}",
        "seed": str(config.seed),
        "device": str(world.device) if world.size == 1 else f"{world.device.type}, {world.size} processes",
    }
    for name, value in rows.items():
        table.add_row(name, value)
    return table


def _cloud_encoder(model: ModelConfig) -> str:
    if model.encoder == "pointnet":
        return f"PointNet {'with' if model.t_net else 'without'} T-Nets, {model.embedding} features"
    if model.encoder == "dgcnn_seg":
        return f"DGCNN for segmentation, k {model.k}, {model.embedding} features"
    return f"DGCNN, k {model.k}, widths {'-'.join(map(str, model.widths))}, {2 * model.embedding} features"
