"""Training of a small captioner: texts, the three held-out parts, evaluation and the model card."""
