"""Apache Spark: a cluster on this machine, and its pool of Beam workers."""
