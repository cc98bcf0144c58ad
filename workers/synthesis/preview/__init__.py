"""Previews what a recipe would give."""
