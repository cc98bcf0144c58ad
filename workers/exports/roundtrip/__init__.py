"""The round trip: held-back tweets through the original and through the export, and what of both is the same."""
