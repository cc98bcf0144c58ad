"""The job queue in Postgres: the ledger, attempts, parents and shards, maintenance, and what there is to see of jobs."""
