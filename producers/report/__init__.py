"""Writes one page about a project: what was measured, what it says of more training data, and what to do next."""
