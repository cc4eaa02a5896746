"""Profiles of the engines a build can run on, and what it takes to set some of them up."""
