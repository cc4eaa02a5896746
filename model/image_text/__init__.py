"""Images with titles: their texts and groups, random changes, batches, the training loop."""
