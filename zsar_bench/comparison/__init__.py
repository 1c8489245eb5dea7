"""Comparison of stored runs: rows, ranking, statistics, published numbers."""
