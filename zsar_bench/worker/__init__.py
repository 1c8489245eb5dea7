"""The child's end of a worker, started by name."""
