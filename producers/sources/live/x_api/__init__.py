"""Reads posts from X's filtered stream: `source` connects, `rules` says what is sent, `ledger` counts the cost, `posts` reads lines."""
