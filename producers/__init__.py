"""Who asks: the command line, the review page and the tweet sources."""
