"""Datasets made without writing thousands of examples: noise measured on real tweets, curated pairs, a split without leaks."""

NOISE_VERSION = 1
"""Of what a fit counts and the gauge measures: another version asks for another job."""
