"""Files in: tweets, pairs and references by COPY, with every row counted and every refusal kept with its reason."""
