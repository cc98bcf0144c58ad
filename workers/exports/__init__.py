"""Tuned models as other programs load them, and proof by a round trip that each is still the same model."""
