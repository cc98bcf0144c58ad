"""Datasets made without writing thousands of examples: noise measured on real tweets, curated pairs, a split without leaks."""
