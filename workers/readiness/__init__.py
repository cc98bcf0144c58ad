"""What keeps a worker from starting: the checks of Postgres, Redis and the clock, one list for all who ask."""
