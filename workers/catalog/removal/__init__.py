"""Takes tweets and jobs away: what is forgotten with all that was made of it, and what is old."""
