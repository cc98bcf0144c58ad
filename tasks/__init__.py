"""What can be asked: the Celery tasks, one family a file.

A family has two doors: `enqueue(spec)` for whoever asks, and the task for the worker that answers. A body is one call of a craft.
"""
