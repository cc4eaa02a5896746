"""Train a tokenizer: objectives, the loop, and the card that describes what came of it."""
