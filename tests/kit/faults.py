"""What tests of faults share: who is still running, what must be whole, what was heard."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from kit.paths import TESTS
from zsar_bench.records.schema import Record

PATIENCE = 60  #: seconds until something that must happen counts as missing
RUN_FILES = {"run.json", "predictions.safetensors", "events.jsonl"}


def wait_for(condition: Callable[[], Any], process: subprocess.Popen[str]) -> None:
    """Wait until something is so while a command runs."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.005)


# --- Processes ---------------------------------------------------------------------------------


def _running() -> Iterator[int]:
    for entry in os.listdir("/proc"):
        if entry.isdecimal() and int(entry) != os.getpid():
            yield int(entry)


def _about(pid: int, name: str) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/{name}").read_bytes()
    return b""


def strays(folder: Path) -> dict[int, str]:
    """Processes that know a folder: it is in their environment, words, or their place.

    Every process of a command names its test's folder in one of them; a zombie in none.
    """
    mark, found = str(folder).encode(), {}
    for pid in _running():
        place = b""
        with contextlib.suppress(OSError):
            place = os.readlink(f"/proc/{pid}/cwd").encode()
        words = _about(pid, "cmdline")
        if any(mark in text for text in (_about(pid, "environ"), words, place)):
            found[pid] = words.replace(b"\0", b" ").decode("utf-8", "replace")[:200]
    return found


def descendants(pid: int) -> set[tuple[int, int]]:
    """(pid, start time) of a process's children, and of theirs."""
    born: dict[int, tuple[int, int]] = {}
    for one in _running():
        fields = _about(one, "stat").rpartition(b")")[2].split()
        if fields:
            born[one] = int(fields[1]), int(fields[19])
    found: set[tuple[int, int]] = set()
    front = {pid}
    while front:
        front = {one for one, (parent, _) in born.items() if parent in front}
        found |= {(one, born[one][1]) for one in front}
    return found


def alive(pid: int, start: int) -> bool:
    """Whether this very process, not another of its number, still runs."""
    fields = _about(pid, "stat").rpartition(b")")[2].split()
    return bool(fields) and fields[0] != b"Z" and int(fields[19]) == start


def gone(family: set[tuple[int, int]], folder: Path, within: float = 2.0) -> None:
    """Assert that a command's children, and all that know its folder, end by themselves."""
    end = time.monotonic() + within
    while True:
        left = [one for one in family if alive(*one)]
        stray = strays(folder)
        if not left and not stray:
            return
        assert time.monotonic() < end, f"still running: {left}, {stray}"
        time.sleep(0.02)


def stop(process: subprocess.Popen[str], how: signal.Signals, alone: bool) -> float:
    """Send a signal to a command alone or to its process group; seconds until it ended."""
    started = time.monotonic()
    if alone:
        process.send_signal(how)
    else:
        os.killpg(process.pid, how)
    process.wait(PATIENCE)
    return time.monotonic() - started


# --- Files -------------------------------------------------------------------------------------


def whole(home: Path, results: Path) -> list[Path]:
    """Assert that all under a final name is complete and readable; returns the finished runs."""
    for folder in _final(home / "data"):
        about = json.loads((folder / "dataset.json").read_bytes())
        assert about["shards"], folder
        for name, facts in about["shards"].items():
            data = (folder / "shards" / name).read_bytes()
            assert hashlib.sha256(data).hexdigest() == facts["sha256"], name
    for folder in _final(home / "encoders"):
        json.loads((folder / "encoder.json").read_bytes())
        assert load_file(folder / "state.safetensors")
        shards = {p.name for p in (folder / "pooled").glob("[!.]*.safetensors")}
        assert shards, folder
        for part in _final(folder, folders=True):
            files = list(part.glob("[!.]*.safetensors"))
            assert {p.name for p in files} == shards, part
            assert all(map(load_file, files)), part
    for file in _final(home / "texts"):
        if file.suffix == ".safetensors":
            assert set(load_file(file)) == {"pooled", "tokens", "mask"}
    for file in [*home.rglob("*.json"), *results.rglob("*.json")]:
        if not _hidden(file, home) and not _hidden(file, results):
            json.loads(file.read_bytes())
    runs = [run for kind in _final(results / "runs") for m in _final(kind) for run in _final(m)]
    for run in runs:
        assert {p.name for p in run.iterdir()} >= RUN_FILES, run
        record = Record.model_validate_json((run / "run.json").read_bytes())
        assert record.run_id == run.name
        scores = load_file(run / "predictions.safetensors")["scores"]
        assert len(scores) == record.metrics.clips, run
        assert np.isfinite(scores).all(), run
        assert [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    return runs


def _final(folder: Path, folders: bool = False) -> list[Path]:
    if not folder.is_dir():
        return []
    found = (p for p in sorted(folder.iterdir()) if not p.name.startswith("."))
    return [p for p in found if p.is_dir() or not folders]


def _hidden(path: Path, root: Path) -> bool:
    return path.is_relative_to(root) and any(
        part.startswith(".") for part in path.relative_to(root).parts
    )


def leftovers(*folders: Path) -> list[Path]:
    """Unfinished work: what lies under hidden names."""
    return [p for folder in folders for p in folder.rglob(".*")]


def contents(folder: Path) -> dict[str, str]:
    """File -> SHA-256, hidden ones too."""
    return {
        p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in folder.rglob("*")
        if p.is_file()
    }


# --- Events ------------------------------------------------------------------------------------


def heard(path: Path) -> list[dict[str, Any]]:
    """Events that ``zsar-toy``'s tracker wrote so far; half a line at the end is none."""
    if not path.is_file():
        return []
    lines = path.read_text("utf-8").split("\n")[:-1]
    return [json.loads(line) for line in lines]


def steps(events: list[dict[str, Any]], stage: str) -> dict[str, list[int]]:
    """Task -> the steps of one stage in the order in which they were heard."""
    found: dict[str, list[int]] = {}
    for event in events:
        if event.get("stage") == stage:
            found.setdefault(event["task"], []).append(event["step"])
    return found


def continued(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> int:
    """Assert that no step which was heard of, and so had its checkpoint, was done again.

    Returns:
        How many tasks were found in the middle or further.
    """
    count = 0
    for stage, later in (("encoder", "encode"), ("fit", "score")):
        then, again = steps(before, stage), steps(after, stage)
        over = set(steps(before, later))
        for task in then.keys() | over:
            count += 1
            if task in over:
                assert task not in again, f"{task}: {stage} again though {later} had begun"
            elif task in again:
                assert again[task][0] > then[task][-1], f"{task}: {stage} started over"
    return count


# --- Planted faults ----------------------------------------------------------------------------


def planted(site: Path, **fault: Any) -> dict[str, str]:
    """Environment of a command with a fault of the machine; see ``tests/faults/site``.

    Args:
        site: where zsar-toy is installed.
        fault: ``do``, ``below``, and ``at``, ``after``, ``once``.
    """
    words = json.dumps({name: str(v) if name == "below" else v for name, v in fault.items()})
    return faulty_site(site) | {"FAULTS_PLANTED": words}


def faulty_site(site: Path) -> dict[str, str]:
    """Environment in which ``tests/faults/site`` is listened to."""
    here = TESTS / "faults" / "site"
    return {"PYTHONPATH": f"{here}{os.pathsep}{site}"}


def one_round(site: Path, folder: Path) -> Path:
    """``toy-4-2`` as a protocol of one round, written to a folder: workers cost time."""
    text = (site / "zsar_toy" / "protocols" / "toy-4-2.toml").read_text()
    text = text.partition("[samples]")[0].replace("toy-4-2", "toy-xsub").replace('"toy"', '"txs"')
    path = folder / "toy-xsub.toml"
    sides = '[samples]\nrule = "xsub"\ntrain = ["1", "3", "5", "7"]\ntest_clips = 16\n'
    path.write_text(text + sides)
    return path
