"""Stored runs compared: rows, ranking, statistics, published numbers."""
