"""Reads what is configured: from which sources, for which servers and engines. `workers.settings` puts it together."""
