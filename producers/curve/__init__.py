"""Draws a learning curve over the queue: `points` lays it out, `run` asks for its jobs and follows them, `report` makes the answer.

`completion` waits until all scores are there, `shown` chooses the points that can be compared. `baselines` and `prompting` ask first
whether training pays, `costs` and `worth` what more pairs take and have to bring.
"""
