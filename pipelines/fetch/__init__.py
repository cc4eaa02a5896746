"""HTTP downloads, safe for untrusted lists of URLs."""
