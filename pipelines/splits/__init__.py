"""Hold samples out of the training shards, so that no group of like samples is on both sides."""
