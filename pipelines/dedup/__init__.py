"""Which rows are the same image."""
