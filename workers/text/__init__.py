"""Pure functions on text that producers and workers share: they need nothing but the standard library."""
