"""Reporters: a comparison (plain JSON data, see ``zsar_bench.comparison.sections``) becomes text.

A reporter is a function ``report(comparison, *, width, color) -> str``.
"""
