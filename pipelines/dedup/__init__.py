"""Find rows that are the same image."""
