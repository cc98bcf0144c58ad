"""Ingests tweets, pairs, references and sentences by COPY: every row is counted, and every rejected one stored with its reason."""
