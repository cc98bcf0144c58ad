"""What there is, and out again: datasets and what was dropped of them, models, summaries, exports."""
