"""What workers answer, none of it believed: a plugin may have patched whatever speaks in there."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import IO, Any

from zsar_bench.confinement import Walls
from zsar_bench.denials import LONGEST, MOST
from zsar_bench.errors import DataError, RunFailed, UserError
from zsar_bench.pipes import Malformed, receive

LARGEST = 1 << 33  #: bytes of one answer's tensors
WORD = 60  #: characters of a name in a progress message
#: What the parent itself says of a task; a worker's messages are not to pass for it.
RESERVED = ("state", "stage", "round", "time", "result", "reason", "log", "status")


class Answers:
    """The parent's end of a worker's answers.

    Args:
        stream: where they come from.
        on_event: called with every progress message.

    Attributes:
        walls: as the worker reported before any plugin code ran; ``None`` before.
        denied: accesses it was refused, with their number.
    """

    def __init__(
        self, stream: IO[bytes], on_event: Callable[[dict[str, Any]], None] | None
    ) -> None:
        self._stream = stream
        self._on_event = on_event
        self.walls: Walls | None = None
        self.denied: dict[str, int] = {}

    def next(self) -> dict[str, Any] | bytes:
        """The next answer that is meant for who asked.

        Raises:
            BrokenStream: at the end.
            Malformed: for what no worker of ours says.
            UserError, DataError, RunFailed: what the job raised, without its log.
        """
        while True:
            kind, payload = receive(self._stream, LARGEST)
            if kind == "T":
                return bytes(payload)
            if self.walls is None:
                self.walls = _walls(payload)
            elif "progress" in payload:
                event = _progress(payload["progress"])
                if self._on_event is not None and event:
                    self._on_event(event)
            elif "denied" in payload:
                self._take(payload["denied"])
            elif "error" in payload:
                raise _failure(payload["error"])
            else:
                return dict(payload)

    def drain(self) -> None:
        """Take note of what a worker that ended has said last."""
        self._on_event = None
        try:
            while True:
                self.next()
        except (Malformed, UserError, RunFailed):
            return

    def _take(self, counts: Any) -> None:
        if not isinstance(counts, dict):
            raise Malformed("denied accesses that are none")
        for what, count in counts.items():
            known = what in self.denied or len(self.denied) < MOST
            if known and what.isprintable() and len(what) <= LONGEST and type(count) is int:
                self.denied[what] = max(count, self.denied.get(what, 0))


def _walls(payload: dict[str, Any]) -> Walls:
    """The first message. It is the worker's own: no plugin has run before it."""
    if "error" in payload:
        raise _failure(payload["error"])
    said = payload.get("walls")
    names = {field.name for field in fields(Walls)}
    if not isinstance(said, dict) or set(said) != names:
        raise Malformed("no walls were reported")
    return Walls(**said)


def _progress(said: Any) -> dict[str, Any]:
    """A progress message: numbers and short texts by name, steps that are numbers of steps."""
    if not isinstance(said, dict):
        raise Malformed("a progress message that is none")
    event: dict[str, Any] = {}
    for name, value in said.items():
        if name in RESERVED or len(name) > WORD or not name.isprintable():
            continue
        if isinstance(value, str):
            if len(value) <= WORD and value.isprintable():
                event[name] = value
        elif isinstance(value, int | float):
            event[name] = value
    for name in ("step", "total", "clips"):
        if name in event and not (
            isinstance(event[name], int | float)
            and math.isfinite(event[name])
            and 0 <= event[name] <= 1e15
        ):
            raise Malformed(f"a progress message whose {name} is {event[name]!r:.40}")
    return event


def _failure(error: Any) -> Exception:
    said: Mapping[str, Any] = error if isinstance(error, dict) else {}
    what, hint = str(said.get("what", "the worker failed")), str(said.get("hint", ""))
    kind = said.get("kind")
    if kind == "data":
        return DataError(what, hint)
    if kind == "user":
        return UserError(what, hint)
    return RunFailed(what, status="oom" if kind == "oom" else "failed")
