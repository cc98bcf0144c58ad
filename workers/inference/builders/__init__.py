"""One module for each engine, named as `TWEETMILL_ENGINE` names it.

A module has one function, `build(settings, base)`, which returns an `Engine` and imports what that engine needs. A file put here is a
value that the setting takes: nothing else lists the engines. `ON_GPU = True` in it says that the engine computes in its own process: then
it is built in a child, on a GPU that is held for it, where there is one. A second function, `program(settings)`, says which server the
worker starts and supervises for the engine, as `workers.inference.served.program` defines it.
"""
