"""Where files lie: any fsspec URL, tried again, locked, and never partly written."""
