"""What the data looks like: payloads that cross Redis or a file, tables in Postgres, and the states a job may be in."""
