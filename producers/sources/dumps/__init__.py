"""The dumps that people have, a module a network: what in them is a tweet, what is none, and what must be put together first.

Each recognises its own rows and hands on what the table of names can read: `producers.sources.names`.
"""
