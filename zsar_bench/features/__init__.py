"""Skeleton features and text embeddings, made once and kept."""
