"""Parse the addresses of servers, and write them as SQLAlchemy, psycopg, kombu and redis-py take them."""
