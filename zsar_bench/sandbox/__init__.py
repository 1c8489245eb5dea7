"""The parent's side of a worker: how it is started, confined, sent requests and ended."""
