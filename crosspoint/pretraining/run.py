"""A whole pre-training run: prepare, train, probe, draw, report."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch.utils.data import Dataset, Subset

from crosspoint.config.flat import flatten
from crosspoint.config.pretrain import Config
from crosspoint.data.labelled import CloudDataset, axis_shift
from crosspoint.data.sample import Sample
from crosspoint.engine.distributed import World, join_world
from crosspoint.engine.log import LOG_NAME, read_log
from crosspoint.engine.report import settings_table, write_json
from crosspoint.engine.run import prepare_directory
from crosspoint.evaluation.features import Features, extract_features
from crosspoint.evaluation.plots import draw_run
from crosspoint.evaluation.svm import MOST_FOR_CHOICE, ProbeResult, choose_c, linear_probe
from crosspoint.models.crosspoint import CrossPoint
from crosspoint.pretraining.datasets import probe_datasets
from crosspoint.pretraining.state import initial_model
from crosspoint.pretraining.train import Score, pretrain

FIGURE_NAME = "figure.png"
RESULTS_NAME = "results.json"


def run(config: Config, console: Console) -> None:
    """Pre-trains and reports; everything it leaves behind lies in ``config.output.directory``.

    Args:
        config: The settings.
        console: Where to talk to the user; only the main process does.

    Raises:
        Interrupted: After a signal, when the checkpoint is written.
        ValueError, OSError: If settings, data, the folder or a checkpoint are not usable.
        FloatingPointError: If the loss does not stay finite.
    """
    with join_world(config.device) as world:
        if world.is_main:
            prepare_directory(config.output.directory, resume=config.resume)
        # Before training: missing files should not come to light hours later.
        probe = probe_datasets(config) if world.is_main else None
        score = None if probe is None else _held_back_score(config, world, probe[0])
        model = pretrain(config, console if world.is_main else Console(quiet=True), world, score)
    if not world.is_main:
        return
    # The other processes are done; the probe is one process's work.
    console.print(settings_table(config, world))
    if probe is None:
        draw_run(*_figure(config), None, (), method=config.output.embedding, title="")
    else:
        _report(config, console, world, model, *probe)
    console.print(f"checkpoint, log, figure and results: {config.output.directory}")


def _figure(config: Config) -> tuple[Path, list[dict[str, float]]]:
    directory = config.output.directory
    return directory / FIGURE_NAME, read_log(directory / LOG_NAME)


def _features(config: Config, world: World, model: CrossPoint, split: CloudDataset, rows: Any = None) -> Features:
    shift = axis_shift(split.up_axis, config.data.up_axis)
    dataset = cast(Dataset[Sample], split)
    chosen = dataset if rows is None else Subset(dataset, rows)
    return extract_features(model.cloud_encoder, chosen, world.device, axis_shift=shift)


def _held_back_score(config: Config, world: World, train_split: CloudDataset) -> Score:
    """The SVM's accuracy on a held-back part of the probe's training split; the test split has no say."""
    rows = np.sort(np.random.default_rng(0).permutation(len(train_split))[:MOST_FOR_CHOICE])

    def score(model: CrossPoint) -> float:
        features = _features(config, world, model, train_split, rows)
        # Weights that are not finite are never the best; the training loop says what is wrong with them.
        finite = bool(np.isfinite(features.values).all())
        return choose_c(features, config.probe.c).accuracy if finite else -math.inf

    return score


def _report(
    config: Config, console: Console, world: World, model: CrossPoint, train_split: CloudDataset, test: CloudDataset
) -> None:
    """Probes the trained network and the same network at random initialisation; draws and prints."""
    untrained = initial_model(config).to(world.device)
    with console.status("linear probe"):
        held_out = _features(config, world, model, test)
        results = {
            "random": linear_probe(
                _features(config, world, untrained, train_split),
                _features(config, world, untrained, test),
                config.probe.c,
            ),
            "pretrained": linear_probe(_features(config, world, model, train_split), held_out, config.probe.c),
        }
    draw_run(
        *_figure(config),
        held_out,
        test.class_names,
        method=config.output.embedding,
        title=f"held-out {config.probe.dataset}, SVM {100 * results['pretrained'].accuracy:.1f} %",
    )
    write_json(
        config.output.directory / RESULTS_NAME,
        {
            "probe": config.probe.dataset,
            "test_clouds": len(test),
            **{name: {"accuracy": result.accuracy, "c": result.c} for name, result in results.items()},
            "torch": torch.__version__,
            "config": flatten(config),
        },
    )
    _print_results(console, results, f"linear SVM on {len(test)} held-out clouds of {config.probe.dataset}")


def _print_results(console: Console, results: dict[str, ProbeResult], title: str) -> None:
    table = Table(title=title)
    table.add_column("encoder")
    table.add_column("accuracy", justify="right")
    table.add_column("C", justify="right")
    for name, label in (("random", "random initialisation"), ("pretrained", "pre-trained")):
        table.add_row(label, f"{100 * results[name].accuracy:.1f} %", f"{results[name].c:g}")
    console.print(table)
