"""What a stage is, and how one runs."""
