"""Runs servers of models beside a worker, one on each of its GPUs, and asks them as `remote` asks any server.

`program` says what a server is, `process` is one that was started, `slot` keeps one running on a device, `main` is the process of the
supervisor, `launcher` starts that from the worker's main process, and `engine` is what the worker's jobs ask, through a `lease`. An
engine of this kind is a module of `builders` with `program(settings)`.
"""
