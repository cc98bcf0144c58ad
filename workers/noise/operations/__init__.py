"""Applies operations that turn a clean sentence into a tweet: spelling, words, punctuation, affixes, decoration."""
