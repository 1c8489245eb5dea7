"""Workers: what they are born with, how they end, what they leave, what they may say."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from kit.command import Cli
from kit.paths import TESTS
from kit.rogue import ROGUE, ask, start
from zsar_bench.errors import RunFailed, UserError
from zsar_bench.plans.request import parse_size
from zsar_bench.sandbox import client, forkserver, launch
from zsar_bench.sandbox.client import run_job
from zsar_bench.sandbox.confinement.confine import support
from zsar_bench.sandbox.processes import children, descendants
from zsar_bench.worker.jobs import RUN
from zsar_bench.worker.supervisor import HEAD, TAIL

HONEST = ROGUE.with_name("honest.py")
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and a subreaper")
pytestmark = [LINUX, pytest.mark.process]


@pytest.fixture(params=["fresh", "forked"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways in which supervisors are started."""
    kinds = ("report",) if request.param == "forked" else ()
    monkeypatch.setattr(client, "FORKED", kinds)
    return str(request.param)


@pytest.fixture
def unconfined(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the kernel has no walls."""
    monkeypatch.setattr(launch, "CONFINED", ())


def failure(folder: Path, do: str, limits: dict[str, Any] | None = None, **more: Any) -> RunFailed:
    """How a worker that is asked for this fails."""
    with start(folder, **limits or {}) as worker, pytest.raises(RunFailed) as caught:
        ask(worker, do, **more)
    return caught.value


def alive(pid: int) -> bool:
    try:
        return b"State:\tZ" not in Path(f"/proc/{pid}/status").read_bytes()
    except OSError:
        return False


def pids(file: Path) -> list[int]:
    return [int(line) for line in file.read_text().splitlines() if line]


# --- What it is born with ----------------------------------------------------------------------


def test_no_descriptor_but_the_pipe_and_the_standard_ones(way: str, tmp_path: Path) -> None:
    kept = os.open(tmp_path, os.O_RDONLY)
    os.set_inheritable(kept, True)
    try:
        with start(tmp_path / "work") as worker:
            found = ask(worker, "look")["descriptors"]
    finally:
        os.close(kept)
    assert found.pop("0") == "/dev/null"
    assert len(found) == 4  # two ends of the pipe; both standard streams are one pipe to the log
    assert all("/pipe:" in target for target in found.values())
    assert found["1"] == found["2"]


def test_the_environment_is_clean(
    way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "hush")
    monkeypatch.setenv("HF_TOKEN", "hush")
    monkeypatch.setenv("https_proxy", "http://me:hush@proxy")
    monkeypatch.setenv("ZSAR_BENCH_HOME", "/the/store")
    work = tmp_path / "work"
    with start(work) as worker:
        found = ask(worker, "look")
    said = json.dumps([found["environment"], found["born with"]])
    assert "hush" not in said
    assert "/the/store" not in said
    private = str(work / client.PRIVATE)
    for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME", "TORCHINDUCTOR_CACHE_DIR"):
        assert found["environment"][name] == private
    assert found["folder"] == private
    assert found["environment"]["OMP_NUM_THREADS"] == "1"
    assert found["core"] == [0, 0]
    assert found["torch"] is (way == "forked")


def test_models_of_the_user_are_named_only_to_what_may_download_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hush")
    monkeypatch.setenv("HOME", "/home/me")
    for kind in RUN:
        env = launch.environment({"kind": kind}, tmp_path)
        at_home = kind in ("texts", "print", "track")
        assert ("HF_TOKEN" in env) is (env["HOME"] == "/home/me") is at_home


def test_a_worker_leads_a_group_and_a_session_of_its_own(way: str, tmp_path: Path) -> None:
    with start(tmp_path / "work") as worker:
        found = ask(worker, "look")
        assert found["pid"] == found["group"] == found["session"]
        assert found["supervisor"] == worker.process.pid
        assert os.getpgid(worker.process.pid) not in (found["group"], os.getpgrp())


def test_it_says_what_stands_around_it_before_any_plugin(way: str, tmp_path: Path) -> None:
    with start(tmp_path / "work", plugin_files=[str(tmp_path / "absent.py")]) as worker:
        with pytest.raises(RunFailed, match="FileNotFoundError"):
            worker.answer()
        assert asdict(worker.confinement) == asdict(support())
    with start(tmp_path / "work", kind="track", sources=[]) as worker:
        assert worker.answer() == {"trackers": 0}
        assert worker.confinement.level == "process"


# --- How it ends -------------------------------------------------------------------------------


ENDS: dict[str, tuple[dict[str, Any], str]] = {
    "os._exit": ({"do": "leave", "code": 7}, "exited with code 7 before it had finished"),
    "os._exit(0)": ({"do": "leave", "code": 0}, "exited with code 0 before it had finished"),
    "sys.exit": ({"do": "exit", "what": "enough"}, "SystemExit: enough"),
    "segfault": ({"do": "segfault"}, "killed by SIGSEGV"),
    "closed": ({"do": "close_pipe"}, "closed its pipe before it had finished"),
    "control": ({"do": "control_signs"}, r"RuntimeError: \x1b[2J\x1b]0;owned\x07 said"),
}


@pytest.mark.parametrize("end", ENDS)
def test_an_end_is_a_failure_with_its_reason(end: str, way: str, tmp_path: Path) -> None:
    asked, reason = ENDS[end]
    error = failure(tmp_path / "work", **asked)
    assert reason in error.reason
    assert error.status == "failed"
    assert "\x1b" not in error.log


@pytest.mark.parametrize("loop", ["spin", "ignore_signals"])
def test_who_takes_too_long_is_ended(loop: str, way: str, tmp_path: Path) -> None:
    started = time.monotonic()
    error = failure(tmp_path / "work", loop, {"seconds": 1.0})
    assert error.reason == "over the time limit of 1 s (--timeout)"
    assert error.status == "timeout"
    assert ("here I stay" in error.log) is (loop == "ignore_signals")
    assert 1.0 <= time.monotonic() - started < 8


MOST = 700 * 2**20


@pytest.mark.parametrize("pause", [0.0, 0.02])
def test_who_takes_too_much_memory_is_ended(pause: float, way: str, tmp_path: Path) -> None:
    more = {"size": 20 * 2**30, "chunk": 20 * 2**20, "pause": pause}
    error = failure(tmp_path / "work", "allocate", {"most": MOST}, **more)
    assert error.status == "oom"
    if pause:  # so slow that the supervisor sees it first
        assert error.reason.endswith("over the memory limit of 0.68 GiB (--memory-limit)")
        assert 0.68 <= float(error.reason.split()[0]) < 1.2  # both are rounded


def test_one_huge_allocation_is_refused(way: str, tmp_path: Path) -> None:
    error = failure(tmp_path / "work", "allocate", {"most": MOST}, size=2**33, chunk=2**33, pause=0)
    assert error.status == "oom"
    assert error.reason.startswith("MemoryError")


def test_memory_of_children_counts(way: str, tmp_path: Path) -> None:
    limits = {"most": MOST}
    error = failure(tmp_path / "work", "allocate_in_children", limits, count=4, size=MOST // 3)
    assert error.status == "oom"


def test_memory_shared_with_children_counts_once(way: str, tmp_path: Path) -> None:
    with start(tmp_path / "work", most=MOST) as worker:
        assert ask(worker, "share_with_children", count=5, size=MOST // 4) == MOST // 4


def test_sizes() -> None:
    assert parse_size("4G") == parse_size(" 4 gib ") == 4 * 2**30
    assert parse_size("1.5GB") == 1536 * 2**20
    assert parse_size(str(2**30)) == 2**30
    for wrong in ("", "G", "4X", "-4G", "nan", "4 4G", "1e9", "\u0664G"):
        with pytest.raises(UserError, match="is not a size"):
            parse_size(wrong)
    with pytest.raises(UserError, match="less than a worker needs"):
        parse_size("4M")


# --- What it leaves ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["children", "daemon", "program", "comet"])
def test_nothing_of_it_survives(kind: str, way: str, unconfined: None, tmp_path: Path) -> None:
    file = tmp_path / "pids"
    more = {"count": 3} if kind == "children" else {}
    with start(tmp_path / "work") as worker:
        ask(worker, kind, file=str(file), **more)
        assert kind == "comet" or all(map(alive, pids(file)))
    counted = len(pids(file))
    assert not [pid for pid in pids(file) if alive(pid)]
    time.sleep(0.1)
    assert len(pids(file)) == counted
    assert not alive(worker.process.pid)


def test_nor_when_it_ends_by_itself(way: str, unconfined: None, tmp_path: Path) -> None:
    file = tmp_path / "pids"
    with start(tmp_path / "work") as worker:
        ask(worker, "daemon", file=str(file))
        with pytest.raises(RunFailed, match="code 3"):
            ask(worker, "leave", code=3)
        assert not [pid for pid in pids(file) if alive(pid)]


def test_nor_when_the_parent_is_killed(way: str, tmp_path: Path) -> None:
    file = tmp_path / "pids"
    code = (
        "import os, signal, sys; sys.path.insert(0, sys.argv[1]); from pathlib import Path\n"
        "from kit import rogue as t\n"
        f"t.client.FORKED = {('report',) if way == 'forked' else ()}\n"
        "t.launch.CONFINED = ()\n"
        "worker = t.start(Path('work'))\n"
        "t.ask(worker, 'daemon', file='../../pids')\n"
        "print(worker.process.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(TESTS)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    known = [int(done.stdout), *pids(file)]
    end = time.monotonic() + 5
    while any(map(alive, known)) and time.monotonic() < end:
        time.sleep(0.02)
    assert not [pid for pid in known if alive(pid)]


def test_what_a_killed_supervisor_leaves_is_ended_by_the_fork_server(
    unconfined: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(client, "FORKED", ("report",))
    file = tmp_path / "pids"
    with start(tmp_path / "work") as worker:
        ask(worker, "daemon", file=str(file))
        with pytest.raises(RunFailed, match="the worker's supervisor was ended from outside"):
            ask(worker, "kill_supervisor")
    end = time.monotonic() + 5
    while any(map(alive, pids(file))) and time.monotonic() < end:
        time.sleep(0.02)
    assert not [pid for pid in pids(file) if alive(pid)]
    with start(tmp_path / "work") as worker:  # and it serves on
        assert ask(worker, "look")["torch"]


def test_its_private_folder_is_empty_and_goes(way: str, tmp_path: Path) -> None:
    work = tmp_path / "work"
    (work / client.PRIVATE).mkdir(parents=True)
    (work / client.PRIVATE / "hint").write_text("from an earlier worker")
    with start(work) as worker:
        ask(worker, "look")
        assert list((work / client.PRIVATE).iterdir()) == []
    assert sorted(p.name for p in work.iterdir()) == ["report.job.json", "report.log"]


def test_links_in_the_place_of_its_files_are_not_followed(way: str, tmp_path: Path) -> None:
    work, prize = tmp_path / "work", tmp_path / "prize"
    work.mkdir()
    prize.write_text("untouched")
    for name in ("report.job.json", "report.log"):
        (work / name).symlink_to(prize)
    with start(work) as worker:
        ask(worker, "shout", megabytes=1)
    assert prize.read_text() == "untouched"
    assert not (work / "report.log").is_symlink()


# --- What it says ------------------------------------------------------------------------------


def test_of_a_flood_both_ends_are_kept(way: str, tmp_path: Path) -> None:
    with start(tmp_path / "work") as worker:
        assert ask(worker, "shout", megabytes=300) == "said"
        with pytest.raises(RunFailed) as caught:
            ask(worker, "leave", code=1)
        assert caught.value.log.endswith("the very last line")
    log = (tmp_path / "work" / "report.log").read_bytes()
    assert log.startswith(b"the very first line\n")
    assert b"bytes are not kept" in log
    assert len(log) < HEAD + TAIL + 100


PATCHED: dict[str, dict[str, Any]] = {
    "no kind": {"kind": "X", "payload": "{}"},
    "giant tensors": {"kind": "T", "payload": "", "length": 1 << 35, "stay": True},
    "giant JSON": {"kind": "J", "payload": "", "length": 1 << 30, "stay": True},
    "no JSON": {"kind": "J", "payload": "{"},
    "deep JSON": {"kind": "J", "payload": "[" * 100_000},
    "a list": {"kind": "J", "payload": "[]"},
    "a number": {"kind": "J", "payload": "3"},
    "an error without a name": {"kind": "J", "payload": '{"error": 3}'},
    "denied nothing": {"kind": "J", "payload": '{"denied": [1]}'},
    "odd progress": {"kind": "J", "payload": '{"progress": 3}'},
    "endless progress": {"kind": "J", "payload": '{"progress": {"step": Infinity}}'},
    "steps of words": {"kind": "J", "payload": '{"progress": {"step": "many"}}'},
    "half a frame": {"kind": "J", "payload": "{", "length": 100},
}


@pytest.mark.parametrize("said", PATCHED)
def test_what_no_worker_says_fails_its_run(said: str, tmp_path: Path) -> None:
    started = time.monotonic()
    error = failure(tmp_path / "work", "answer", **PATCHED[said])
    assert error.status == "failed"
    assert time.monotonic() - started < 10


def test_tensors_where_words_were_due_fail_the_run(tmp_path: Path) -> None:
    job = {"kind": "check", "check": []}
    assert run_job(job, tmp_path) == {"checked": 0}
    about = {"kind": "check", "plugin_files": [str(tmp_path / "sender.py")], "check": []}
    (tmp_path / "sender.py").write_text(f"{ROGUE.read_text()}\nanswer('T', 'xyz')\n")
    about["code"] = about["plugin_files"]
    with pytest.raises(RunFailed, match="tensors that nobody asked for"):
        run_job(about, tmp_path)


def test_a_worker_cannot_speak_for_the_parent(tmp_path: Path) -> None:
    heard: list[dict[str, Any]] = []
    said = {"state": "done", "stage": "x", "result": 1, "step": 1, "loss": 0.5, "t": "\x1b[2J"}
    with start(tmp_path / "work") as worker:
        worker._answers._on_event = heard.append
        with pytest.raises(RunFailed):
            ask(worker, "answer", kind="J", payload=json.dumps({"progress": said}))
    assert heard == [{"step": 1, "loss": 0.5}]


# --- What it reaches for -----------------------------------------------------------------------


@pytest.mark.skipif(support().level != "landlock", reason="this kernel has no Landlock")
def test_what_is_refused_is_told(way: str, tmp_path: Path) -> None:
    store = tmp_path / "store"
    (store / "below").mkdir(parents=True)
    secret = store / "labels"
    secret.write_text("secret")
    paths = {"secret": str(secret), "folder": str(store / "below"), "new": str(store / "mine")}
    with start(tmp_path / "work", protected=[str(store)]) as worker:
        found = ask(worker, "reach", paths=paths)
        supervisor = worker.process.pid
        private = tmp_path / "work" / client.PRIVATE
    refused = {name for name, fate in found.items() if fate == "PermissionError"}
    expected = {"read", "read again", "list", "write", "remove", "follow", "parent", "connect"}
    signals = {"signal"} if support().signals else set()
    assert refused == expected | signals
    assert found["own"] == "done"
    assert found["absent"] == "FileNotFoundError"
    assert secret.read_text() == "secret"
    told = {
        f"open {secret}": 2,
        f"open {private / 'shortcut'}": 1,
        f"list {store / 'below'}": 1,
        f"write {store / 'mine'}": 1,
        f"write {secret}": 1,
        f"open /proc/{supervisor}/environ": 1,
        "socket AF_INET": 1,
    }
    if signals:
        told[f"signal {supervisor}"] = 1
    assert worker.denied == told


@pytest.mark.skipif(support().level != "landlock", reason="this kernel has no Landlock")
def test_of_many_refusals_some_are_told(tmp_path: Path) -> None:
    for number in range(200):
        (tmp_path / "store" / str(number)).mkdir(parents=True)
    with start(tmp_path / "work") as worker:
        ask(worker, "reach_much", folder=str(tmp_path / "store"))
    assert len(worker.denied) == 50


# --- The fork server ---------------------------------------------------------------------------


@pytest.fixture
def forked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "FORKED", ("report",))


def test_one_server_starts_many_workers(forked: None, tmp_path: Path) -> None:
    with start(tmp_path / "first") as first:
        ask(first, "look")
        server = forkserver._servers["1"]
        known = server.pid
        threads = []
        found: list[int] = []

        def one(number: int) -> None:
            with start(tmp_path / f"work-{number}") as worker:
                found.append(ask(worker, "look")["pid"])

        for number in range(6):
            threads.append(threading.Thread(target=one, args=(number,)))
            threads[-1].start()
        for thread in threads:
            thread.join(30)
    assert len(set(found)) == 6
    assert forkserver._servers["1"].pid == known
    assert forkserver.problem == ""
    assert Path(f"/proc/{known}/task").is_dir()
    assert len(os.listdir(f"/proc/{known}/task")) == 1


@pytest.mark.parametrize("end", [{"do": "segfault"}, {"do": "leave", "code": 1}])
def test_the_server_survives_its_workers(end: dict[str, Any], forked: None, tmp_path: Path) -> None:
    for _ in range(3):
        failure(tmp_path / "work", **end)
    with start(tmp_path / "work") as worker:
        assert ask(worker, "look")["torch"]
    pid = forkserver._servers["1"].pid
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and children(pid):
        time.sleep(0.05)
    assert children(pid) == []  # no zombie either


def test_without_a_server_workers_start_fresh_and_it_is_said(
    forked: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forkserver, "_servers", {})
    monkeypatch.setattr(forkserver, "problem", "")
    with start(tmp_path / "work") as worker:
        ask(worker, "look")
    os.kill(forkserver._servers["1"].pid, signal.SIGKILL)
    time.sleep(0.1)
    with start(tmp_path / "work") as worker:
        assert not ask(worker, "look")["torch"]
    assert "the fork server" in forkserver.problem


def test_what_optimisers_import_is_loaded_once_and_later(
    forked: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server of this test, and no other, finds its ten seconds over when it starts."""
    started = subprocess.Popen
    hurry = "from zsar_bench.worker import forkserver as server; server.LATER = -1; server.main()"

    def hurried(command: list[str], **rest: Any) -> Any:
        if "zsar_bench.worker.forkserver" in command:
            command = [sys.executable, "-P", "-c", hurry, command[-1]]
        return started(command, **rest)

    monkeypatch.setattr(forkserver, "_servers", {})
    monkeypatch.setattr(forkserver.subprocess, "Popen", hurried)
    told = []
    for number in range(2):
        with start(tmp_path / f"work-{number}") as worker:
            told.append(ask(worker, "look")["optimisers"])
    forkserver.stop_servers()
    assert told == [False, True]
    assert forkserver.problem == ""


def test_workers_do_not_share_random_numbers(forked: None, tmp_path: Path) -> None:
    plugin = tmp_path / "drawing.py"
    plugin.write_text(
        "import random\nimport numpy as np\n"
        "def act(comparison, **rest):\n    return f'{random.random()} {np.random.rand()}'\n"
    )
    job = {"plugin_files": [str(plugin)], "target": "zsar_plugin_drawing:act"}
    drawn = []
    for _ in range(2):
        with start(tmp_path / "work", code=[str(plugin)], **job) as worker:
            drawn += worker.ask({"comparison": {}})["text"].split()
    assert len(set(drawn)) == 4


# --- Commands ----------------------------------------------------------------------------------


def _spy(folder: Path) -> Path:
    """A folder for the import path: whatever process imports torch says so in a file."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(
        "import os, sys\n"
        "class Spy:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'torch':\n"
        f"            with open({str(folder / 'imports')!r}, 'a') as out:\n"
        "                out.write(f'{os.getpid()}\\n')\n"
        "sys.meta_path.insert(0, Spy())\n"
    )
    return folder


def test_a_command_imports_torch_once(cli: Cli, toy_site: Path, tmp_path: Path) -> None:
    cli("list", "methods")  # asks the plugins, once
    spy = _spy(tmp_path / "spy")
    path = os.pathsep.join(map(str, (spy, toy_site)))
    cli.run("toy-ridge", env={"PYTHONPATH": path})
    assert len(pids(spy / "imports")) == 1
    cli.run("toy-ridge", env={"PYTHONPATH": path})  # nothing to do
    assert len(pids(spy / "imports")) == 1


def test_statuses_reach_the_rows_and_the_exit_code(cli: Cli) -> None:
    done = cli.run("toy-ridge", "--set", "sleep=9", "--timeout", "1", "--json", check=1)
    (row,) = json.loads(done.stdout)["runs"]
    assert row["status"] == "timeout"
    assert "timeout: toy-ridge" in done.stderr
    assert "over the time limit of 1 s" in done.stderr
    done = cli.run("toy-ridge", "--timeout", "60", "--memory-limit", "3G", "--json")
    (row,) = json.loads(done.stdout)["runs"]
    assert row["status"] == "done"
    done = cli.run("toy-ridge", "--memory-limit", "lots", check=2)
    assert "'lots' is not a size" in done.stderr


def test_honest_training_is_refused_nothing(way: str, tmp_path: Path) -> None:
    job = {"plugin_files": [str(HONEST)], "code": [str(HONEST)]}
    with start(tmp_path / "work", target="zsar_plugin_honest:act", **job) as worker:
        found = json.loads(worker.ask({"comparison": {}})["text"])
    assert found["same"]
    assert found["child"] == "42\n", found["error"]
    assert worker.denied == {}


def test_an_honest_run_is_refused_nothing(cli: Cli) -> None:
    done = cli.run("toy-ridge", "--json")
    (row,) = json.loads(done.stdout)["runs"]
    record = json.loads((Path(row["folder"]) / "run.json").read_bytes())
    assert record["certificate"]["confinement"]["level"] == support().level
    assert record["certificate"]["denied"] == {}


def _wait(condition: Callable[[], Any], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_an_interrupt_ends_a_run_within_two_seconds(cli: Cli) -> None:
    words = ("run", "toy-ridge", "--protocol", "toy-4-2", "--set", "sleep=1", "--quiet")
    names = ("--skeleton-encoder", "toy-mean", "--text-encoder", "toy-hash")
    process = cli.start(*words, *names)
    _wait(lambda: list((cli.cwd / "results").rglob("fit.log")))
    time.sleep(0.5)
    below = descendants(process.pid)
    assert len(below) >= 3  # fork server, supervisor, worker
    started = time.monotonic()
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=20)[1]
    assert time.monotonic() - started < 2
    assert process.returncode == 130
    assert "The same command continues where this one stopped." in said
    _wait(lambda: not any(map(alive, below)), 10)
