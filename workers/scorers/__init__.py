"""Scores outputs by models: similarity to the references, support by the tweet, a judge. All are optional, none is shipped."""
