"""Put real servers and workers under a seeded storm of faults, record a history of it, and check the history.

python -m tests.nemesis --seed 1 --minutes 10
"""
