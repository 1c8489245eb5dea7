"""Prepared clips: the store, and imports into it."""
