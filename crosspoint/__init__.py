"""Self-supervised training of point-cloud encoders across modalities (CrossPoint and its relatives)."""
