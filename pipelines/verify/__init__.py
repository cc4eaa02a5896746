"""Checks that read a whole corpus again and report every fault."""
