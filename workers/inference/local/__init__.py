"""Runs the engine in this process: a Hugging Face model on CUDA or the CPU."""
