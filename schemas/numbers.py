"""Name the largest numbers that can be stored, apart from the payloads so that the command line needs no pydantic."""

LARGEST = 2**63 - 1
"""A whole number in a column of Postgres."""

LARGEST_OF_32 = 2**32 - 1
"""A seed of scikit-learn."""
