"""A worker of ``tests/plugins/rogue.py``, which does what it is asked, good or bad."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from kit.paths import PLUGINS
from zsar_bench.sandbox import client as client
from zsar_bench.sandbox import launch as launch
from zsar_bench.sandbox.client import Worker

ROGUE = PLUGINS / "rogue.py"


def start(folder: Path, seconds: float | None = 60, most: int | None = None, **job: Any) -> Worker:
    folder.mkdir(exist_ok=True)
    about = {
        "kind": "report",
        "plugin_files": [str(ROGUE)],
        "target": "zsar_plugin_rogue:act",
        "threads": 1,
        "code": [str(ROGUE)],
        "limits": {"seconds": seconds, "bytes": most},
    }
    return Worker(about | job, folder)


def ask(worker: Worker, do: str, **more: Any) -> Any:
    return json.loads(worker.ask({"comparison": {"do": do, **more}})["text"])
