"""The Celery tasks, one kind of job a file.

Each has `enqueue(spec)` for producers and the task for workers, whose body is one call of a domain package.
"""
