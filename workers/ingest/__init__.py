"""From the bytes of a file, or of standard input, to numbered rows: one reader of each kind, for tweets, pairs and sentences alike.

`rows` opens what is packed, finds the encoding, tells JSON from tables, and yields each row with its place, or why it can't be used.
What a row means is for those who read it.
"""
