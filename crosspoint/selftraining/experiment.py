"""The experiment and the single run, from settings to table and figures."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from crosspoint.alignment.run import ALIGNED_NAME, align
from crosspoint.config.align import AlignConfig
from crosspoint.config.experiment import ExperimentConfig, variant_label, variant_method
from crosspoint.config.flat import flatten
from crosspoint.config.selftrain import SelfTrainConfig
from crosspoint.data.datasets.paired import LabelledDataset
from crosspoint.data.pairs import Pairs, pair_datasets
from crosspoint.engine.distributed import World, join_world
from crosspoint.engine.report import write_json
from crosspoint.engine.run import CHECKPOINT_NAME, prepare_directory
from crosspoint.evaluation.results import percent, processor
from crosspoint.models.aligned import AlignedModel
from crosspoint.selftraining.report import (
    BRANCHES,
    LABELS_FIGURE,
    accuracies,
    draw_confusions,
    draw_labels,
    labels_over_time,
)
from crosspoint.selftraining.run import self_train
from crosspoint.selftraining.start import read_class_names, starting_model

RESULTS_NAME = "results.json"
_ALIGNED = "aligned"


def run(config: SelfTrainConfig, console: Console) -> None:
    """Self-trains once; everything it leaves behind lies in ``config.output.directory``.

    Raises:
        Interrupted: After a signal, when the checkpoint is written.
        ValueError, OSError: If settings, data, the start, the folder or a checkpoint are not usable, or no label was
            confident for as long as patience has.
        FloatingPointError: If the loss does not stay finite.
    """
    with join_world(config.device) as world:
        console = console if world.is_main else Console(quiet=True)
        names = None if config.classes is None else read_class_names(config.classes)
        pairs = pair_datasets(config.data, config.seed, names)
        model = starting_model(config, pairs.class_names)
        if world.is_main:
            prepare_directory(config.output.directory, resume=config.resume)
        result = _train_and_test(config, model, pairs, console, world)
    if not world.is_main:
        return
    content = {**result, "classes": list(pairs.class_names), **_circumstances(world), "config": flatten(config)}
    write_json(config.output.directory / RESULTS_NAME, content)
    if pairs.test is not None:
        label = _run_label(config)
        console.print(_table({"zero-shot, before": result["before"], label: result["student"]}, pairs.test))
    console.print(f"model, checkpoint, log, figures and results: {config.output.directory}")


def _run_label(config: SelfTrainConfig) -> str:
    """What a single run is called in its table."""
    return f"self-trained ({config.method.labels.source} labels)"


def run_experiment(config: ExperimentConfig, console: Console) -> None:
    """Aligns, self-trains every variant from there, and compares; what is done already is not repeated.

    Raises:
        Interrupted, ValueError, OSError, FloatingPointError: As for `run`.
    """
    directory = config.output.directory
    with join_world(config.device) as world:
        console = console if world.is_main else Console(quiet=True)
        if world.is_main:
            _prepare(directory, resume=config.resume)
        source = pair_datasets(config.source, config.seed)
        names = config.classes or _shared(source, pair_datasets(config.target, config.seed))
        if config.align_on == "classes":
            source = pair_datasets(config.source, config.seed, names)
        target = pair_datasets(config.target, config.seed, names)
        if target.test is None:
            raise ValueError(f"the target must have objects to test on, got none in {config.target.dataset}")
        results = _read(directory / RESULTS_NAME)
        _align(config, source, console, world)
        for variant in config.variants:
            if variant in results.get("variants", {}):
                continue
            one = _variant_config(config, variant)
            model = starting_model(one, names)
            if world.is_main:
                prepare_directory(one.output.directory, resume=one.resume)
            result = _train_and_test(one, model, target, console, world, before=results.get("before"))
            if world.is_main:
                results.setdefault("before", result.pop("before"))
                results.setdefault("variants", {})[variant] = result
                content = {**results, "classes": list(names), **_circumstances(world), "config": flatten(config)}
                write_json(directory / RESULTS_NAME, content)
        if world.is_main:
            rows = {"zero-shot, before": results["before"]}
            rows |= {variant_label(name): results["variants"][name]["student"] for name in config.variants}
            console.print(_table(rows, target.test))
            console.print(f"models, checkpoints, logs, figures and results: {directory}")


def _prepare(directory: Path, *, resume: bool) -> None:
    begun = (directory / _ALIGNED / CHECKPOINT_NAME).exists()
    if begun and not resume:
        raise FileExistsError(
            f"output.directory must not hold an experiment unless --resume continues it, got {directory} with one"
        )
    if resume and not begun:
        raise FileNotFoundError(f"--resume needs an experiment in output.directory, got none in {directory}")


def _shared(source: Pairs, target: Pairs) -> tuple[str, ...]:
    names = tuple(name for name in target.class_names if name in source.class_names)
    if len(names) < 2:
        raise ValueError(
            f"source and target must share at least 2 class names, got {len(names)}: the source has "
            f"{', '.join(source.class_names[:5])}, the target {', '.join(target.class_names[:5])} and so on"
        )
    return names


def _read(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        content: dict[str, Any] = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} must be a complete results file, got damaged JSON") from error
    return content


def _align(config: ExperimentConfig, source: Pairs, console: Console, world: World) -> None:
    directory = config.output.directory / _ALIGNED
    begun = (directory / CHECKPOINT_NAME).exists()
    if world.is_main:
        prepare_directory(directory, resume=begun)
    align(
        AlignConfig(
            data=config.source,
            model=config.model,
            views=config.views,
            optimisation=config.alignment,
            output=dataclasses.replace(config.output, directory=directory),
            seed=config.seed,
            device=config.device,
            resume=begun,
        ),
        console,
        world,
        source,
    )


def _variant_config(config: ExperimentConfig, variant: Any) -> SelfTrainConfig:
    directory = config.output.directory / variant
    return SelfTrainConfig(
        data=config.target,
        init=config.output.directory / _ALIGNED / ALIGNED_NAME,
        method=variant_method(variant, config.method),
        up_axis=config.source.up_axis,
        output=dataclasses.replace(config.output, directory=directory),
        seed=config.seed,
        device=config.device,
        resume=(directory / CHECKPOINT_NAME).exists(),
    )


def _train_and_test(
    config: SelfTrainConfig,
    model: AlignedModel,
    pairs: Pairs,
    console: Console,
    world: World,
    before: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Self-trains and, on the main process, tests; ``before`` is the zero-shot result where it is known already."""
    directory, result = config.output.directory, dict[str, Any]()
    if world.is_main and pairs.test is not None:
        result["before"] = before or accuracies(model.to(world.device), pairs.test, config.up_axis, world.device)
    start = time.monotonic()
    student, teacher = self_train(config, model, pairs, console, world)
    if not world.is_main:
        return result
    result["seconds"] = time.monotonic() - start
    result["labels"] = labels_over_time(directory)
    draw_labels(directory / LABELS_FIGURE, result["labels"], truth=pairs.test is not None)
    if pairs.test is not None:
        result["student"] = accuracies(student, pairs.test, config.up_axis, world.device)
        result["teacher"] = accuracies(teacher, pairs.test, config.up_axis, world.device)
        draw_confusions(directory, result["student"], pairs.class_names, title=_run_label(config))
    return result


def _circumstances(world: World) -> dict[str, Any]:
    device = torch.cuda.get_device_name() if world.device.type == "cuda" else processor()
    return {"torch": torch.__version__, "device": device, "processes": world.size, "threads": torch.get_num_threads()}


def _table(rows: dict[str, dict[str, Any]], test: LabelledDataset) -> Table:
    classes: Sequence[str] = test.class_names
    table = Table(title=f"accuracy on {len(test)} test objects of {len(classes)} classes")
    table.add_column("")
    for branch in BRANCHES:
        table.add_column(branch, justify="right")
    for label, found in rows.items():
        table.add_row(label, *(percent(found[branch]["top1"]) for branch in BRANCHES))
    return table
