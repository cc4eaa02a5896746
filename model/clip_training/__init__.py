"""Training of a small CLIP: texts, the held-out split, the loop, evaluation and the model card."""
