"""GPUs: which there are, and who holds which."""
