"""Addresses of servers as people write them: taken apart in one place, and as SQLAlchemy, psycopg, kombu and redis-py take them."""
