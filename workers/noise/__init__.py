"""Noise: clean sentences made to look like tweets, at rates or in styles measured on real ones."""
