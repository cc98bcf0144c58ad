"""Evaluation during a training: the loss on held-back rows, and SARI of what the model writes for them."""
