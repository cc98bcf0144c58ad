"""Streams in Postgres: who reads which, what arrived and waits, the shards that are made of it, and how they stand."""
