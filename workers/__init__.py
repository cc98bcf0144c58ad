"""Do the work: settings, the Celery app, the job ledger, and one package for each domain."""
