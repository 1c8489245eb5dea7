"""Helpers for readers of raw data sets: archives and array files, checked before they are read."""
