"""Turns a tweet into a summary: prompts, engines behind one port, and the guard that checks what they wrote."""
