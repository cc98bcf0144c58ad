"""What English words, numbers, names and negations say: closed lists and pure functions, without a model."""
