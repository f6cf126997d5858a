"""Cross-modal self-training (Cross-MoST): settings, step, run and default experiment."""
