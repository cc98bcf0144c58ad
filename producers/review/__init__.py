"""Shows the review page, a full-screen terminal application over the claims in Postgres."""
