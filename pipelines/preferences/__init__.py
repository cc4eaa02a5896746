"""Preference pairs of drawn images, and comparisons of two models."""
