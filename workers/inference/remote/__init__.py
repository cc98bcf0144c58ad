"""Talks to an engine behind a server that speaks the OpenAI chat API."""
