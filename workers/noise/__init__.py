"""Noise: fits how people write tweets, applies it to clean texts, and measures how real the result looks."""

NOISE_VERSION = 2
"""Of what a fit counts and of the features of `noise gauge`: a part of their idempotency keys, so that a new version runs anew."""
