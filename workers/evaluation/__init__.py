"""Scores summaries: SARI, ROUGE, METEOR, chrF, output constraints, checks of words, and the baselines to beat."""
