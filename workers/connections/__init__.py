"""What `workers.database` and `workers.broker` know of servers: their sessions, their keys and their words for what went wrong."""
