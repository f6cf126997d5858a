"""Where self-training begins: class names, and an aligned model that knows them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from crosspoint.config.selftrain import SelfTrainConfig
from crosspoint.evaluation.aligned_models import aligned_model
from crosspoint.models.aligned import AlignedModel
from crosspoint.models.prompts import TEMPLATES


def read_class_names(path: Path) -> tuple[str, ...]:
    """Class names from a file with one per line; empty lines do not count.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is no text, or a name comes twice.
    """
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except OSError as error:
        raise OSError(f"a list of classes must be a readable file, got {path} ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"a list of classes must be a text file with a name per line, got {path}") from error
    names = tuple(line for line in lines if line)
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"a list of classes must name each once, got {', '.join(repeated)} more often in {path}")
    return names


def starting_model(config: SelfTrainConfig, names: Sequence[str]) -> AlignedModel:
    """The model of the settings with a classifier for the classes, on the CPU, without text tower.

    Args:
        config: Says where it comes from.
        names: The classes.

    Raises:
        OSError: If there is no such file.
        ValueError: If it holds no aligned model, there are fewer than 2 classes, or the model has other classes and no
            text tower any more.
    """
    if len(names) < 2:
        raise ValueError(
            f"self-training needs at least 2 classes to tell apart, got {len(names)} ({', '.join(names) or 'none'})"
        )
    model, _ = aligned_model(config.init, clip=config.clip, dvae=config.dvae)
    if model.text is not None:
        model.set_classes(names, TEMPLATES[config.method.templates])
        model.drop_text()
    elif model.class_names != tuple(names):
        unknown = [name for name in names if name not in model.class_names]
        raise ValueError(
            f"a start without text tower must be trained further on its own {len(model.class_names)} classes in their "
            f"order, got {len(names)}" + (f", among them {', '.join(unknown[:5])}" if unknown else " in another order")
        )
    return model
