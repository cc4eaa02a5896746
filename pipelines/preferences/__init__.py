"""Pairs of drawn images, one preferred; and comparisons of two models."""
