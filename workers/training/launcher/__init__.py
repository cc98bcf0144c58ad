"""Starting ranks, following them, and leaving none behind."""
