"""Training of a small CLIP: both towers, a teacher of words, evaluation and the model card."""
