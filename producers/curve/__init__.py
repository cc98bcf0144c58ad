"""Draws a learning curve over the queue: `points` lays it out, `run` asks for its jobs and follows them, `report` makes the answer."""
