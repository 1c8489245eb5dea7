"""Events of one stage of a run, recorded with their time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

Event = Callable[[dict[str, Any]], None]


def ignore_event(event: dict[str, Any]) -> None:
    """Nobody wants to know."""


class EventLog:
    """Events of a stage, for the run's ``events.jsonl``; each is passed on at once."""

    def __init__(self, name: str, on_event: Event) -> None:
        self.events: list[dict[str, Any]] = []
        self._name = name
        self._on_event = on_event

    def record(self, event: dict[str, Any]) -> None:
        """Record an event and pass it on."""
        event = {"round": self._name, **event}
        self.events.append({"time": round(time.time(), 3), **event})
        self._on_event(event)
