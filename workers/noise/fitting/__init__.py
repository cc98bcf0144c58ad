"""Measuring how messy real tweets are: rates, styles and typos, kept as a profile without a text in it."""
