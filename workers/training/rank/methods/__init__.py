"""The ways of fine-tuning, one module each. Imported by a rank alone: a method loads torch."""

from workers.training.rank.methods.method import METHODS, Method

__all__ = ["METHODS", "Method"]
