"""Thresholds: what other ones would keep, and how well they agree with labels."""
