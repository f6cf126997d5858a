import dataclasses
import inspect
import re
from pathlib import Path
from typing import Any

import pytest

from crosspoint.config.flat import differences, flatten
from crosspoint.config.output import OutputConfig
from crosspoint.config.pretrain import (
    PRESETS,
    Config,
    DataConfig,
    ModelConfig,
    OptimisationConfig,
    ProbeConfig,
)
from crosspoint.train import parse

SECTIONS = (Config, DataConfig, ModelConfig, OptimisationConfig, OutputConfig, ProbeConfig)


@pytest.mark.parametrize(
    ("section", "values", "message"),
    [
        (DataConfig, {"num_points": 1}, "data.num_points must be at least 2, got 1"),
        (DataConfig, {"per_class": 0}, "data.per_class must be at least 1, got 0"),
        (DataConfig, {"image_size": 31}, "data.image_size must be at least 32, got 31"),
        (DataConfig, {"workers": -1}, "data.workers must be at least 0, got -1"),
        (
            DataConfig,
            {"dataset": "shapenet_render"},
            "data.root must name the folder of data.dataset=shapenet_render, got None",
        ),
        (
            DataConfig,
            {"root": Path("x")},
            "data.root must be left out when data.dataset=shapes reads no files, got x",
        ),
        (DataConfig, {"up_axis": "z"}, "data.up_axis must be y when data.dataset=shapes, got z"),
        (ModelConfig, {"k": 0}, "model.k must be at least 1, got 0"),
        (ModelConfig, {"widths": ()}, "model.widths must name at least one layer, got ()"),
        (ModelConfig, {"widths": (8, 0)}, "every entry of model.widths must be at least 1, got 0"),
        (
            ModelConfig,
            {"encoder": "dgcnn_seg", "t_net": True},
            "model.t_net must be left out unless model.encoder=pointnet (dgcnn_seg always has one), "
            "got model.encoder=dgcnn_seg",
        ),
        (
            DataConfig,
            {"images": Path("x")},
            "data.images must be left out unless data.dataset=folder, got x",
        ),
        (DataConfig, {"cache_megabytes": -1.0}, "data.cache_megabytes must be a finite number of at least 0, got -1.0"),
        (
            DataConfig,
            {"dataset": "scanobjectnn"},
            "data.root must name the folder of data.dataset=scanobjectnn, got None",
        ),
        (ModelConfig, {"projection": 0}, "model.projection must be at least 1, got 0"),
        (ModelConfig, {"resnet_width": 3}, "model.resnet_width must be at least 4, got 3"),
        (OptimisationConfig, {"epochs": 0}, "optimisation.epochs must be at least 1, got 0"),
        (OptimisationConfig, {"batch_size": 1}, "optimisation.batch_size must be at least 2, got 1"),
        (
            OptimisationConfig,
            {"learning_rate": 0.0},
            "optimisation.learning_rate must be a finite number above 0, got 0.0",
        ),
        (
            OptimisationConfig,
            {"learning_rate": float("nan")},
            "optimisation.learning_rate must be a finite number above 0, got nan",
        ),
        (
            OptimisationConfig,
            {"weight_decay": -1.0},
            "optimisation.weight_decay must be a finite number of at least 0, got -1.0",
        ),
        (
            OptimisationConfig,
            {"temperature": float("inf")},
            "optimisation.temperature must be a finite number above 0, got inf",
        ),
        (
            OptimisationConfig,
            {"intra_weight": 0.0, "cross_weight": 0.0},
            "optimisation.intra_weight and optimisation.cross_weight must not both be 0, got 0.0 and 0.0",
        ),
        (
            ProbeConfig,
            {"dataset": "modelnet40"},
            "probe.root must name the folder of probe.dataset=modelnet40, got None",
        ),
        (ProbeConfig, {"c": ()}, "probe.c must hold at least one value, got ()"),
        (ProbeConfig, {"c": (1.0, 0.0)}, "every entry of probe.c must be a finite number above 0, got 0.0"),
        (OutputConfig, {"checkpoint_steps": 0}, "output.checkpoint_steps must be at least 1, got 0"),
        (OutputConfig, {"log_steps": 0}, "output.log_steps must be at least 1, got 0"),
        (Config, {"seed": -1}, "seed must be at least 0 and below 2**32, got -1"),
        (
            Config,
            {"model": ModelConfig(k=99), "data": DataConfig(num_points=64)},
            "model.k must be at most data.num_points, got model.k=99 and data.num_points=64",
        ),
        (
            Config,
            {"model": ModelConfig(k=99), "probe": ProbeConfig(num_points=64)},
            "model.k must be at most probe.num_points, got model.k=99 and probe.num_points=64",
        ),
    ],
)
def test_errors(section: type, values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        section(**values)


def test_is_frozen_and_takes_keywords_only() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().seed = 1  # type: ignore[misc]
    for section in SECTIONS:
        with pytest.raises(TypeError, match="positional"):
            section(1)  # type: ignore[misc]


def test_every_field_has_a_docstring() -> None:
    for section in SECTIONS:
        source = inspect.getsource(section)
        for entry in dataclasses.fields(section):
            assert re.search(rf'^    {entry.name}: .*\n    """', source, re.MULTILINE), (
                f"{section.__name__}.{entry.name}"
            )


def test_flatten_has_plain_values_only() -> None:
    flat = flatten(PRESETS["paper"])
    assert flat["data.root"] == "data"
    assert flat["model.widths"] == [64, 64, 128, 256]
    assert all(isinstance(value, (str, int, float, bool, list, type(None))) for value in flat.values())
    assert len(flat) == sum(len(dataclasses.fields(section)) for section in SECTIONS) - 5  # the five nested sections


@pytest.mark.parametrize(
    ("changed", "names"),
    [
        (Config(seed=1), ["seed"]),
        (Config(model=ModelConfig(k=9, embedding=8)), ["model.embedding", "model.k"]),
        (Config(output=OutputConfig(directory=Path("x"), checkpoint_steps=1)), []),
        (Config(resume=True, device="cpu", traceback=True), []),
        (Config(data=DataConfig(workers=3), probe=ProbeConfig(dataset="none")), []),
    ],
)
def test_differences_are_those_that_decide_the_weights(changed: Config, names: list[str]) -> None:
    assert differences(flatten(changed), flatten(Config())) == names


def test_a_field_that_only_one_side_has_differs() -> None:
    flat = flatten(Config())
    assert differences(flat, {**flat, "model.gone": 1}) == ["model.gone"]


def test_a_checkpoint_from_before_a_setting_existed_still_fits() -> None:
    old = {name: value for name, value in flatten(Config()).items() if name != "model.encoder"}
    assert differences(flatten(Config()), old) == []
    assert differences(flatten(Config(model=ModelConfig(encoder="pointnet"))), old) == ["model.encoder"]


def test_only_graphs_need_as_many_points_as_neighbours() -> None:
    Config(model=ModelConfig(encoder="pointnet", k=99), data=DataConfig(num_points=64))


def test_the_published_setting() -> None:
    paper = PRESETS["paper"]
    assert (paper.data.num_points, paper.data.image_size, paper.data.dataset) == (2048, 224, "shapenet_render")
    assert (paper.model.k, paper.model.embedding, paper.model.resnet, paper.model.resnet_width) == (15, 1024, 50, 64)
    assert paper.model.widths == (64, 64, 128, 256)
    assert (paper.model.cloud_hidden, paper.model.image_hidden, paper.model.projection) == (1024, 512, 256)
    optimisation = paper.optimisation
    assert (optimisation.epochs, optimisation.batch_size, optimisation.temperature) == (100, 20, 0.1)
    assert (optimisation.learning_rate, optimisation.weight_decay) == (1e-3, 1e-6)


@pytest.mark.parametrize("arguments", [[], ["quick"]])
def test_quick_is_the_default(arguments: list[str]) -> None:
    assert parse(arguments) == PRESETS["quick"] == Config()


def test_a_preset_with_changes() -> None:
    parsed = parse(["paper", "--data.root", "x", "--model.widths", "8", "16", "--resume", "--seed", "3"])
    assert parsed.data == dataclasses.replace(PRESETS["paper"].data, root=Path("x"))
    assert parsed.model.widths == (8, 16)
    assert (parsed.resume, parsed.seed) == (True, 3)
    assert parsed.optimisation == PRESETS["paper"].optimisation


def test_every_field_can_be_set_from_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leave:
        parse(["--help"])
    assert leave.value.code == 0
    text = capsys.readouterr().out
    for name in flatten(Config()):
        option = name.replace("_", "-")
        assert f"--{option}" in text or f"--{option.replace('.', '.no-')}" in text, name
    assert "paper: the published setting" in text


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--data.num-points", "1"], "data.num_points must be at least 2, got 1"),
        (["--data.num-points", "many"], "many"),
        (["--no-such-option"], "--no-such-option"),
        (["fast"], "fast"),
    ],
)
def test_a_wrong_command_line_exits_with_2(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as leave:
        parse(arguments)
    assert leave.value.code == 2
    captured = capsys.readouterr()
    assert sentence in captured.out + captured.err
