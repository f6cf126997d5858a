"""What a pre-trained encoder is worth: one protocol per file, each beside the same encoder with random weights."""
