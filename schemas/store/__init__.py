"""Storage on any fsspec URL, with retries, locks and atomic writes."""
