"""How it is done: the Celery app, the ledger, and one folder per craft."""
