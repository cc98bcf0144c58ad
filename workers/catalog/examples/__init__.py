"""What datasets hold: curated pairs, examples with their origin, what was dropped, and what a training learns from."""
