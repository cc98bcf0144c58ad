"""Reads Bluesky's posts from a Jetstream server: `source` connects, `wires` has both versions of its protocol, `trail` the cursor."""
