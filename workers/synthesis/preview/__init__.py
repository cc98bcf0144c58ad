"""What a recipe would give, before it is run."""
