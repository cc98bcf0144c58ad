"""Runs the demo: from raw tweets to summaries on one machine, on data that the package index holds."""
