"""Lists of URLs."""
