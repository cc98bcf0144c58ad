"""Queries about what is stored: datasets and their dropped examples, models, summaries, tweets; and the export of datasets."""
