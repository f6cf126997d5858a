"""What the benchmarks are made of, and what measures and records them."""
