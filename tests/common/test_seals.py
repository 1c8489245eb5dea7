"""Seals by themselves: every bit of a folder, a single file, an import's journal."""

from __future__ import annotations
