"""Training and test kept apart: held-out clusters, threads, leaks, and the ratios of origins."""
