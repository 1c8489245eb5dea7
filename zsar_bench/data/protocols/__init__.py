"""Protocols: files, look-up, and the rounds that they make of clips."""
