"""From the bytes of a file, or of standard input, to numbered rows: one reader of each kind, for tweets, pairs and sentences alike."""
