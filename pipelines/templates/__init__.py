"""Bundled template files."""
