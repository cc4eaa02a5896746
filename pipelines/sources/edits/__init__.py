"""The source of edits that are made of another source's images."""
