"""A worker: one job, then the end.

    python -m zsar_bench.worker job.json

Standard input and output are the pipe to the parent; whatever plugins print goes to the log.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from zsar_bench.errors import DataError, UserError
from zsar_bench.jobs import RUN
from zsar_bench.pipes import BrokenStream, receive, send_json, send_tensors
from zsar_bench.plugins import import_file

if TYPE_CHECKING:
    import torch


class Pipe:
    """The worker's end of the pipe."""

    def __init__(self, requests: IO[bytes], answers: IO[bytes]) -> None:
        self._requests = requests
        self._answers = answers

    def say(self, message: dict[str, Any]) -> None:
        """Answer with JSON."""
        send_json(self._answers, message)

    def give(self, tensors: dict[str, torch.Tensor]) -> None:
        """Answer with tensors."""
        from safetensors.torch import save

        send_tensors(self._answers, save(tensors))

    def progress(self, event: dict[str, Any]) -> None:
        """Report progress; a parent that is gone ends the worker."""
        self.say({"progress": event})

    def requests(self) -> Iterator[Any]:
        """Requests until the parent closes the pipe: dicts, or dicts of tensors."""
        while True:
            try:
                kind, payload = receive(self._requests)
            except BrokenStream:
                return
            if kind == "T":
                from safetensors.torch import load

                payload = load(payload)
            yield payload


def main() -> None:
    """Run the job named on the command line."""
    _die_with_parent()
    line = Pipe(os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb"))
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(2, 1)  # plugins' prints go to the log
    code = 0
    try:
        job = json.loads(Path(sys.argv[1]).read_text("utf-8"))
        for file in job.get("plugin_files", ()):
            import_file(Path(file))
        RUN[job["kind"]](job, line)
    except BrokenStream:
        code = 1  # the parent is gone
    except BaseException as error:
        code = 1
        traceback.print_exc()
        with contextlib.suppress(BrokenStream):
            line.say({"error": _as_json(error)})
    sys.stderr.flush()
    os._exit(code)


def _die_with_parent() -> None:
    """A parent that is killed takes its workers along (Linux; elsewhere the pipe tells them)."""
    if sys.platform == "linux":
        import ctypes

        set_death_signal = 1
        ctypes.CDLL(None).prctl(set_death_signal, signal.SIGKILL)


def _as_json(error: BaseException) -> dict[str, str]:
    if isinstance(error, UserError):
        kind = "data" if isinstance(error, DataError) else "user"
        return {"kind": kind, "what": error.what, "hint": error.hint}
    text = " ".join(str(error).split())[:300]
    return {
        "kind": "failed",
        "what": f"{type(error).__name__}: {text}" if text else type(error).__name__,
    }


if __name__ == "__main__":
    main()
