"""Exports of a finished corpus in the formats of other trainers."""
