"""The child's side of a worker, started as a module."""
