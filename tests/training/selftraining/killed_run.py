"""Script: runs ``crosspoint.selftrain`` and kills it when a step has ended.

usage: killed_run.py STEP [OPTIONS]
"""

import os
import signal
import sys
from typing import Any

import torch

from crosspoint.selftrain import main
from crosspoint.selftraining.step import SelfTrainingStep

if __name__ == "__main__":
    torch.set_num_threads(1)
    step, learn = int(sys.argv[1]), SelfTrainingStep.learn

    def learn_and_die(self: SelfTrainingStep, *arguments: Any) -> torch.Tensor:
        told = learn(self, *arguments)
        if self._state.step == step:
            os.kill(os.getpid(), signal.SIGKILL)
        return told

    SelfTrainingStep.learn = learn_and_die  # type: ignore[method-assign]
    sys.exit(main(sys.argv[2:]))
