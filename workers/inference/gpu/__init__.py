"""Runs an engine on a GPU, in a process of its own, so that the GPU is wholly free when the engine leaves it."""
