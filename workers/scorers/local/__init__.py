"""Scores by models in this process, in torch on the CPU. torch and transformers are imported when a scorer is built."""
