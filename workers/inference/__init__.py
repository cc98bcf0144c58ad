"""How a tweet becomes a summary: prompts, engines behind one port, and the guard that checks what they wrote."""
