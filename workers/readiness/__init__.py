"""Check Postgres, Redis, the clock and the disk before a worker starts; `tweetmill status` shows the same findings."""
