"""One page about some runs: settings, curves, results beside published ones, pictures."""
