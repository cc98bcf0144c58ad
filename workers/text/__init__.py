"""Provides pure functions on English and tweets; nothing of tweetmill is imported but schemas and errors."""
