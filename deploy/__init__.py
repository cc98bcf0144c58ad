"""Deploys tweetmill: the one-machine stack and containers."""
