"""Output shards and the manifest."""
