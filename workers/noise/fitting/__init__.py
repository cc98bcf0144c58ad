"""Fits noise to tweets: rates, styles and typos, kept as a profile without a text in it."""
