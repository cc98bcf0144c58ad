"""The loop of `tweetmill stream`: from a live source into Postgres, and from there into shards."""
