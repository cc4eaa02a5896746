"""Scorers, one file a kind. A kind's packages and weights are loaded when it first scores."""
