"""Compares a canary with the model in service while both write, and ends it when its figures say so."""
