"""Recognises the dumps of networks, a module for each: what in them is a tweet, what is none, and what must be joined first.

Each recognises its own rows and hands on what the table of names can read: `producers.sources.names`.
"""
