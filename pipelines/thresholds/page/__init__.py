"""The page on which a sample is labelled."""
