"""Where tweetmill runs: the one-machine stack and containers."""
