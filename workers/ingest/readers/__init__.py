"""Readers of files: from bytes to numbered rows, one reader for each kind of file, for tweets, pairs and sentences alike."""
