"""One map stage a file."""
