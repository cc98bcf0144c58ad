"""Keeps training and test apart: held-out clusters, threads, leaks, and the ratios of origins."""
