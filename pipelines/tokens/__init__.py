"""Tokenizers, and batches for them."""
