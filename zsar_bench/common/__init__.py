"""Shared helpers: files, hashes, checksums, names, events, action classes."""
