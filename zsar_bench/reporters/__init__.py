"""Reporters render a comparison (plain JSON data, see ``zsar_bench.comparison.sections``).

A reporter is a function ``report(comparison, *, width, color) -> str``.
"""
