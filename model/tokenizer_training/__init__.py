"""Training of an image tokenizer: objectives, the loop, evaluation and the model card."""
