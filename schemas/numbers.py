"""The largest numbers that there is a place for. They stand alone, so that the command line knows them without loading pydantic."""

LARGEST = 2**63 - 1
"""A whole number in a column of Postgres."""

LARGEST_OF_32 = 2**32 - 1
"""A seed of scikit-learn."""
