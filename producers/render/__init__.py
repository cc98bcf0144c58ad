"""What verbs show: tables, previews, plots, progress, and the streams and exit codes beneath them."""
