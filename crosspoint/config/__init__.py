"""Settings of all commands: frozen dataclasses, checked on construction, from which the command lines are made.

Nothing here imports torch, so that ``--help`` need not wait for it.
"""

from crosspoint.config.output import OutputConfig
from crosspoint.config.pretrain import PRESETS, Config, DataConfig, ModelConfig, OptimisationConfig, ProbeConfig

__all__ = ["PRESETS", "Config", "DataConfig", "ModelConfig", "OptimisationConfig", "OutputConfig", "ProbeConfig"]
