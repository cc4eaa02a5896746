"""Engines that a build can run on: their profiles, and set-up code for some of them."""
