"""HTTP, safe against what strangers list."""
