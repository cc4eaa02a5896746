"""Batches for scorers."""
