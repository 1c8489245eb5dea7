"""Searches of hyper-parameters on pseudo-unseen classes."""
