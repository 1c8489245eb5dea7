"""Consoles on which only Rich itself steers the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def console() -> Console:
    """Standard output."""
    return _plain(stderr=False)


def error_console() -> Console:
    """Standard error: progress and errors, so that results can be piped."""
    return _plain(stderr=True)


def _plain(stderr: bool) -> Console:
    """A console that shows any text of a plugin, a file or a record as letters or not at all."""
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.segment import Segment

    from zsar_bench.common.names import plain_lines

    class Plain(Console):
        def render(
            self, renderable: RenderableType, options: ConsoleOptions | None = None
        ) -> Iterator[Segment]:
            for part in super().render(renderable, options):
                yield part if part.control else part._replace(text=plain_lines(part.text))

    return Plain(stderr=stderr, highlight=False)
