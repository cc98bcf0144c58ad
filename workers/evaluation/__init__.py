"""How good a summary is: SARI, ROUGE-L, chrF, the promise, faithfulness, and the baselines to beat."""
