"""Lexical normalisation as its field scores it: the error reduction rate over aligned words."""
