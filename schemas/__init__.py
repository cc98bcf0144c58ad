"""Define the data: payloads that cross Redis or a file, tables in Postgres, and the states of a job."""
