"""Tasks, their executor, their expected time, and trackers."""
