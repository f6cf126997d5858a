"""Pre-training without labels (CrossPoint): datasets, state, step and run."""
