"""Tells whether tweets have changed since a model learnt, in what, and which of them to pair next."""
