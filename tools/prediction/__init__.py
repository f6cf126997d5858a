"""Predicts how long the CUDA kernels take, from their machine code and from what the algorithms do."""
