"""The parent's end of a worker: how it is started, confined, asked and ended."""
