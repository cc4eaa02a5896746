"""Re-read a corpus and name every fault."""
