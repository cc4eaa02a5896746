"""Data sets of the Hub, and of its library."""
