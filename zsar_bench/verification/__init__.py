"""Stored runs recomputed, scores of others judged, runs moved between machines."""
