"""What is known of servers: sessions of Postgres, keys in Redis, and their words for what went wrong."""
