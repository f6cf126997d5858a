"""Running a pre-training: processes, order of the data, steps, checkpoints, logs, the linear probe, figures."""
