"""Stages: pieces of work that are found again by everything they depend on."""
