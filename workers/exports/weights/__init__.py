"""What of an export needs torch, in processes of their own: whole weights are written, and the original answers."""
