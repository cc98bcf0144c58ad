"""Builds datasets from curated pairs, imports, noised texts and a teacher's answers, with a split that leaks nothing."""
