"""Scores summaries: SARI, ROUGE-L, chrF, output constraints, faithfulness, and the baselines to beat."""
