"""Asks a teacher, a language model that writes targets: each question once, and every answer is checked before it is learnt from."""
