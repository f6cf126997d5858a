"""Running the training command in processes of its own, in a configuration that takes seconds."""

from pathlib import Path

import pytest
from processes import Finished, run

DYING_RUN = Path(__file__).with_name("dying_run.py")

TINY = """
    --data.per-class 1 --data.num-points 32 --data.image-size 32
    --model.k 4 --model.widths 8 8 --model.embedding 16 --model.cloud-hidden 16 --model.image-hidden 16
    --model.projection 8 --model.resnet-width 4
    --optimisation.batch-size 4 --optimisation.epochs 2
    --probe.per-class 4 --probe.num-points 32 --probe.c 0.1
    --output.checkpoint-steps 3 --output.checkpoint-seconds 0 --output.no-tensorboard --output.embedding pca
""".split()  # noqa: SIM905 (this is how it is typed)


class TrainingCommand:
    """Runs ``python -m crosspoint.train`` with the tiny configuration."""

    dying_run = DYING_RUN

    def arguments(self, directory: Path, *options: str) -> list[str]:
        return [*TINY, "--output.directory", str(directory), *options]

    def train(self, directory: Path, *options: str) -> Finished:
        return run(["-m", "crosspoint.train", *self.arguments(directory, *options)])

    def train_and_strike(self, moment: str, count: int, number: int, directory: Path, *options: str) -> Finished:
        """A run to which ``number`` is sent at an exact moment (see dying_run.py)."""
        return run([str(DYING_RUN), moment, str(count), str(int(number)), *self.arguments(directory, *options)])


@pytest.fixture(scope="session")
def training() -> TrainingCommand:
    return TrainingCommand()
