"""Serves one model to other programs over HTTP: OpenAI's chat completions, a plain way to summarise, and metrics."""
