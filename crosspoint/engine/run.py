"""A whole run: prepare, train, probe, draw, report."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import cast

import torch
from rich.console import Console
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import Dataset

from crosspoint.config import Config, flatten
from crosspoint.data.sample import Sample
from crosspoint.engine.checkpoint import load_checkpoint, require_same_run, save_checkpoint
from crosspoint.engine.distributed import World, join_world
from crosspoint.engine.loading import load_batches, save_before_failing
from crosspoint.engine.log import LOG_NAME, RunLog, read_log
from crosspoint.engine.loop import train
from crosspoint.engine.plots import draw_run
from crosspoint.engine.probe import Features, extract_features, linear_probe
from crosspoint.engine.progress import TrainingProgress
from crosspoint.engine.report import print_results, settings_table, write_json
from crosspoint.engine.sampler import ResumableBatchSampler
from crosspoint.engine.sources import CloudDataset, axis_shift, pretraining_dataset, probe_datasets
from crosspoint.engine.state import TrainingState, initial_model, initial_state
from crosspoint.engine.step import TrainingStep
from crosspoint.models.crosspoint import CrossPoint, Projections
from crosspoint.models.encoder import CloudEncoder

CHECKPOINT_NAME = "checkpoint.pt"
FIGURE_NAME = "figure.png"
RESULTS_NAME = "results.json"
SETTINGS_NAME = "config.json"


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
            _prepare_directory(config.output.directory, resume=config.resume)
        # Before training: missing files should not come to light hours later.
        probe = probe_datasets(config) if world.is_main else None
        model = _pretrain(config, console if world.is_main else Console(quiet=True), world)
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


def _prepare_directory(directory: Path, *, resume: bool) -> None:
    if (directory / CHECKPOINT_NAME).exists() and not resume:
        raise FileExistsError(
            f"output.directory must not hold a run unless --resume continues it, got {directory} with a checkpoint"
        )
    if resume and not (directory / CHECKPOINT_NAME).exists():
        raise FileNotFoundError(f"--resume needs a checkpoint in output.directory, got none in {directory}")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        raise OSError(f"output.directory must be a writable folder, got {directory} ({error.strerror})") from error


def _pretrain(config: Config, console: Console, world: World) -> CrossPoint:
    directory, settings = config.output.directory, config.optimisation
    dataset = pretraining_dataset(config)
    plan = ResumableBatchSampler(len(dataset), settings.batch_size, settings.epochs, config.seed)
    state = initial_state(config, plan.total_steps, world)
    path, flat = directory / CHECKPOINT_NAME, flatten(config)
    if config.resume:
        checkpoint = load_checkpoint(path)
        require_same_run(path, checkpoint, flat, steps_per_epoch=plan.steps_per_epoch, processes=world.size)
        state.restore(checkpoint, world)

    def save() -> None:
        captured = state.capture(world)
        if world.is_main:
            save_checkpoint(
                path,
                {**captured, "config": flat, "steps_per_epoch": plan.steps_per_epoch, "processes": world.size},
            )

    if not config.resume:
        save()  # at once: an unwritable folder or a full disk shows now, and --resume works from here on
    if world.is_main:
        write_json(directory / SETTINGS_NAME, flat)
    console.print(
        f"pre-training on {len(dataset)} objects, {plan.total_steps - state.step} of {plan.total_steps} steps to go"
    )
    if rendered := getattr(dataset, "rendered", 0):
        console.print(f"{rendered} of them have no pictures; views of them are rendered")
    if state.step < plan.total_steps:
        _train(config, console, world, state, dataset, save)
    return state.model


def _save_finite(state: TrainingState, save: Callable[[], None]) -> None:
    """Saves between two reports of the loss, which would have found out."""
    if not all(bool(parameter.isfinite().all()) for parameter in state.model.parameters()):
        raise FloatingPointError(f"the weights must stay finite, got NaN or infinity at step {state.step}")
    save()


def _train(
    config: Config,
    console: Console,
    world: World,
    state: TrainingState,
    dataset: CloudDataset,
    save: Callable[[], None],
) -> None:
    settings, start_step = config.optimisation, state.step
    sampler = ResumableBatchSampler(
        len(dataset),
        settings.batch_size,
        settings.epochs,
        config.seed,
        start_step=start_step,
        rank=world.rank,
        world_size=world.size,
    )
    batches = load_batches(dataset, sampler, workers=config.data.workers, pin_memory=world.device.type == "cuda")
    if world.size == 1:  # with several processes, the others would wait for this one's part of a checkpoint
        batches = save_before_failing(batches, lambda: _save_finite(state, save), lambda: state.step)
    network: Callable[[Tensor, Tensor, Tensor], Projections] = state.model
    if world.size > 1:
        network = DistributedDataParallel(state.model, [world.device] if world.device.type == "cuda" else None)
    log = RunLog(config.output.directory, start_step, tensorboard=config.output.tensorboard) if world.is_main else None
    progress = TrainingProgress(console, sampler.total_steps, start_step)

    def report(step: int, values: dict[str, float]) -> None:
        if log is not None:
            log.write(step, {"epoch": (step - 1) // sampler.steps_per_epoch, **values})
        progress.update(step, values["loss"], values["objects_per_second"])

    try:
        with progress, closing(batches):
            train(
                batches,
                TrainingStep(state, network, config, world, dataset.up_axis),
                start_step=start_step,
                total_steps=sampler.total_steps,
                objects_per_step=settings.batch_size,
                learning_rate=lambda: float(state.schedule.get_last_lr()[0]),
                save=save,
                report=report,
                output=config.output,
                world=world,
            )
    finally:
        if log is not None:
            log.close()


def _report(
    config: Config, console: Console, world: World, model: CrossPoint, train_split: CloudDataset, test: CloudDataset
) -> None:
    """Probes the trained encoder and the same encoder at random initialisation; draws and prints."""

    def features(encoder: CloudEncoder, split: CloudDataset) -> Features:
        shift = axis_shift(split.up_axis, config.data.up_axis)
        return extract_features(encoder, cast(Dataset[Sample], split), world.device, axis_shift=shift)

    untrained = initial_model(config).cloud_encoder.to(world.device)
    with console.status("linear probe"):
        held_out = features(model.cloud_encoder, test)
        results = {
            "random": linear_probe(features(untrained, train_split), features(untrained, test), config.probe.c),
            "pretrained": linear_probe(features(model.cloud_encoder, train_split), held_out, config.probe.c),
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
    print_results(
        console, results["random"], results["pretrained"], dataset=config.probe.dataset, test_clouds=len(test)
    )
