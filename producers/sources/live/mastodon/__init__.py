"""Reads posts from a server of Mastodon: `source` connects and catches up, `statuses` makes events of what it says."""
