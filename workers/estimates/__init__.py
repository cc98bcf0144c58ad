"""Estimates what a training takes, from a recipe and the base's files alone: parameters, memory, time. Nothing here loads torch.

`architecture.py` reads a base's tensors, `parameters.py` says which of them a method trains, `activations.py` and `memory.py` count bytes.
"""
