"""What tables say, without layout."""

from __future__ import annotations

from typing import Any

from zsar_bench.reporters import json as json_reporter
from zsar_bench.reporters import markdown, table


def every_text(comparison: dict[str, Any], width: int = 200) -> dict[str, str]:
    return {
        "table": table.report(comparison, width=width, color=False),
        "markdown": markdown.report(comparison, width=width, color=False),
        "json": json_reporter.report(comparison, width=width, color=False),
    }


def flat(text: str) -> str:
    """Words of a text without what a table draws between them."""
    return " ".join(text.replace("│", " ").split())
