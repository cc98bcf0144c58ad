"""Name the largest numbers and texts that can be stored, apart from the payloads so that the command line needs no pydantic."""

LARGEST_BIGINT = 2**63 - 1
"""A whole number in a column of Postgres."""

LARGEST_SEED = 2**32 - 1
"""A seed of scikit-learn."""

LONGEST_POST = 25_000
"""Characters of a tweet: X's own limit for long posts."""

HIGHEST_PRICE = 1_000_000.0
"""USD an hour that a machine may cost."""

LARGEST_GPU = 1_000_000.0
"""GiB of one GPU's memory."""
