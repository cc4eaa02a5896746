"""Edits that are exact by construction: an image, its edited twin, and the words for both ways."""
