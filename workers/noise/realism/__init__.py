"""Measures how far noised text is from real tweets: a classifier two-sample test and its features."""
