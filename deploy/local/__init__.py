"""Runs the one-machine stack: Valkey, Postgres, workers and Flower under one folder, without Docker or root."""
