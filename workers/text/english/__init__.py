"""Finds words, numbers, names and negations in English by closed lists and pure functions, without a model."""
