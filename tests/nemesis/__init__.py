"""The nemesis: real servers and workers under a seeded storm of faults, a history of all that happened, and a checker of the history.

python -m tests.nemesis --seed 1 --minutes 10
"""
