"""Metrics of summaries, their intervals, and the baselines that need no model."""
