"""Live sources: tweets as they come. `registry` has the kinds; `workers.ingest.live` has what each of them yields."""
