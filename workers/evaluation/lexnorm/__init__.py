"""Scores lexical normalisation as its field does: by the error reduction rate over aligned words."""
