"""Review by people: which rows they see, who has which, bulk edits, and the dataset that comes of it."""
