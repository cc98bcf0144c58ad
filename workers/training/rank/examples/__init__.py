"""The training examples on a rank: read, tokenized once, planned into batches, and laid out in rows."""
