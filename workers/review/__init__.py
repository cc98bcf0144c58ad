"""Lets people review datasets: ranking and queue of rows, claims and verdicts, bulk edits, and the dataset that is made of them."""
