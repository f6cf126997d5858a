"""Self-training in a configuration that takes a second."""

from pathlib import Path

from crosspoint.config.aligned import AlignedConfig, CloudConfig, ImageConfig, TextConfig
from crosspoint.selftrain import main

SIZES = AlignedConfig(
    embedding=8,
    image=ImageConfig(image_size=16, patch_size=4, width=8, layers=2, heads=2),
    cloud=CloudConfig(groups=6, group_size=4, token_widths=(4, 4, 4, 4), width=8, layers=2, heads=2),
    text=TextConfig(width=8, layers=1, heads=2),
)
DATA = """
    --data.dataset shapes_shifted --data.per-class 1 --data.test-per-class 1 --data.views 1
    --data.num-points 32 --data.image-size 16
""".split()  # noqa: SIM905 (this is how it is typed)
METHOD = """
    --method.optimisation.epochs 2 --method.optimisation.batch-size 6 --method.optimisation.learning-rate 1e-3
    --method.optimisation.warmup-epochs 0 --method.teacher.start 0.9 --method.teacher.ramp-steps 4
    --method.labels.threshold 0.05 --method.labels.image-threshold 0.05 --method.labels.cloud-threshold 0.05
    --method.templates plain
""".split()  # noqa: SIM905
OUTPUT = "--output.no-tensorboard --output.checkpoint-steps 3 --output.checkpoint-seconds 0 --device cpu".split()  # noqa: SIM905


def arguments(start: Path, directory: Path, *options: str) -> list[str]:
    return ["fixed", "--init", str(start), *DATA, *METHOD, *OUTPUT, "--output.directory", str(directory), *options]


def self_train(start: Path, directory: Path, *options: str) -> int:
    return main(arguments(start, directory, *options))
