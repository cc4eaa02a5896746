"""Apache Spark: its job server, and a cluster on this machine."""
