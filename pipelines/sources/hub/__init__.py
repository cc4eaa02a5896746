"""Datasets of the Hugging Face Hub, and local datasets, read with `datasets`."""
