"""Reporters render a comparison (plain JSON data, see ``zsar_bench.compare.sections``) as text.

A reporter is a function ``report(comparison, *, width, color) -> str``.
"""
