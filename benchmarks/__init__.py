"""Speed, as ratios: two ways to do the same thing, measured in turn on one machine. `python -m benchmarks` runs them all."""
