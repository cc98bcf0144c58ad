"""Starts the ranks as processes, follows them, and leaves none behind."""
