"""The command line: what it prints, how it refuses, what it imports, how it stops."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from kit import known_plugins
from kit.command import TIMEOUT, TOY_ENCODERS, Cli, environment
from zsar_bench import cli as command_line
from zsar_bench.catalogue import catalogue
from zsar_bench.cli.listing import LISTS

ESCAPE = "\x1b"
RUN = ("run", "toy-ridge", "--protocol", "toy-4-2", *TOY_ENCODERS)


class Said(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str


Type = Callable[..., Said]


@pytest.fixture
def type_(toy_process, monkeypatch, capsys) -> Type:
    """Types a command in this process: quick, and a traceback fails the test by itself."""
    monkeypatch.setenv("COLUMNS", "120")

    def run(*words: object) -> Said:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["zsar-bench", *map(str, words)])
        code: object = 0
        try:
            command_line.main()
        except SystemExit as end:
            code = end.code or 0
        return Said(int(bool(code)) if isinstance(code, str) else code, *capsys.readouterr())

    return run


def refused(said: Said, *reasons: str) -> None:
    """Exit code 2, a short message that holds the reasons, nothing on standard output."""
    assert said.code == 2, said
    assert said.out == ""
    assert "Traceback" not in said.err
    assert len(said.err.strip().splitlines()) <= 3, said.err
    for reason in reasons:
        assert reason in said.err, said.err


@pytest.fixture(scope="module")
def finished(toy_store, toy_site, tmp_path_factory) -> dict:
    """One real run: its folder, what it said, and what the tracker heard."""
    folder = tmp_path_factory.mktemp("finished")
    events = folder / "events"
    home = shutil.copytree(toy_store, folder / "home")
    here = Cli(home, toy_site, folder)
    done = here.run("toy-ridge", "--json", env={"ZSAR_BENCH_TOY_EVENTS": str(events)})
    heard = [json.loads(line) for line in events.read_text().splitlines()]
    return {"folder": folder, "done": done, "events": heard}


# --- Help, and what is imported --------------------------------------------------------------

#: Typer reads options with pydantic from 0.29 on, which is why the pin stays below.
_IMPORTED = """
import contextlib, io, json, sys
from zsar_bench.cli import app
heavy = {"torch", "sentence_transformers", "transformers", "open_clip", "scipy", "torchvision",
         "numpy", "jsonschema", "pydantic"}
found = {}
for command in json.loads(sys.argv[1]):
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        app(command, standalone_mode=False)
    assert out.getvalue(), command
    found[" ".join(command)] = sorted(heavy & set(sys.modules))
    found[" ".join(command)] += [m for m in sys.modules if m.startswith(("zsar_t", "zsar_al"))]
print(json.dumps(found))
"""


def test_looking_around_imports_no_heavy_library_and_no_plugin(cli):
    commands = [
        ["--help"],
        ["--version"],
        ["run", "--help"],
        ["compare", "--help"],
        ["list"],
        *([["list", what] for what in LISTS]),
        ["show", "tdsm"],
        ["show", "toy-4-2"],
        ["show", "utd-mhad", "--json"],
        ["data", "--help"],
        ["data", "list"],
    ]
    cli("list")  # the catalogue is cached from here on
    done = subprocess.run(
        [sys.executable, "-c", _IMPORTED, json.dumps(commands)],
        env=environment(cli.home, cli.site),
        cwd=cli.cwd,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=True,
    )
    assert json.loads(done.stdout) == {" ".join(command): [] for command in commands}


def test_the_package_imports_nothing_heavy():
    code = "import sys, zsar_bench; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "zsar_bench" in done.stdout.split()
    assert not {"torch", "pydantic", "numpy", "typer", "rich"} & set(done.stdout.split())


@pytest.mark.parametrize("words", [(), ("run",), ("data",), ("data", "import"), ("show",)])
def test_help_names_every_option_and_argument(type_, words):
    said = type_(*words, "--help")
    assert said.code == 0
    assert "Usage: zsar-bench" in said.out
    undocumented = re.findall(r"│\s+(--[\w-]+)\s*│", said.out)
    assert not undocumented


def test_every_word_of_the_design_is_there(type_):
    said = type_("run", "--help").out
    for word in ("--protocol", "--seeds", "--text-encoder", "--skeleton-encoder", "--texts"):
        assert word in said
    for word in ("--text-fields", "--set", "--profile", "--selection", "--device", "--results"):
        assert word in said
    for word in ("--json", "--quiet", "--dry-run", "--force", "--plugin"):
        assert word in said


def test_the_version_is_printed(type_):
    said = type_("--version")
    assert (said.code, said.out) == (0, "zsar-bench 0.1.0\n")


def test_an_unknown_command_is_refused(type_):
    said = type_("comapre")
    assert said.code == 2
    assert "Did you mean 'compare'" in said.err


# --- JSON ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ("list",),
        *(("list", what) for what in LISTS),
        ("show", "tdsm"),
        ("show", "toy-mean"),
        ("show", "toy-hash"),
        ("show", "toy-motion"),
        ("show", "toy-4-2"),
        ("show", "toy"),
        ("show", "toy-rank"),
        ("data", "list"),
        ("data", "verify"),
        (*RUN, "--dry-run"),
    ],
    ids=" ".join,
)
def test_json_is_one_document_on_standard_output(type_, words):
    said = type_(*words, "--json")
    assert said.code == 0, said.err
    assert json.loads(said.out)
    assert ESCAPE not in said.out


def test_doctor_says_what_is_here_and_what_to_type(type_):
    said = type_("doctor", "--json")
    found = json.loads(said.out)
    assert said.code == 0, found
    states = {check["what"]: check["state"] for check in found["checks"]}
    assert states["torch"] == states["plugins"] == states["data set toy-motion"] == "ok"
    assert states["data set utd-mhad"] == "note"
    assert found["next"].startswith("zsar-bench run ")
    assert "--protocol toy-4-2" in found["next"]


def test_a_run_prints_one_json_document_and_tells_trackers(finished):
    (row,) = json.loads(finished["done"].stdout)["runs"]
    assert (row["method"], row["status"], row["seeds"]) == ("toy-ridge", "done", [0, 0])
    assert (Path(row["folder"]) / "run.json").is_file()
    assert finished["done"].stderr == ""
    states = [event["state"] for event in finished["events"] if "state" in event]
    assert states.count("started") == states.count("done") == 6  # texts, 2 encoders, 2 rounds, run
    assert {"encoder", "fit", "score"} <= {event.get("stage") for event in finished["events"]}
    (record,) = [event["record"] for event in finished["events"] if "record" in event]
    assert record["run_id"] == row["run"]
    assert 1 <= record["metrics"]["plugins"]["toy-rank"] <= 2


@pytest.mark.parametrize("words", [("--json",), ("--format", "json")])
def test_compare_as_json(type_, finished, words):
    said = type_("compare", "--results", finished["folder"] / "results", *words)
    (section,) = json.loads(said.out)["sections"]
    assert section["protocol"] == "toy-4-2"
    assert [row["method"] for row in section["rows"]] == ["toy-ridge"]


def test_compare_with_a_reporter_of_a_third_party(type_, finished):
    said = type_("compare", "--results", finished["folder"] / "results", "--format", "toy-lines")
    assert re.fullmatch(r"toy-4-2 toy-ridge \d+\.\d\n", said.out)


# --- Names nobody knows ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "reasons"),
    [
        (("run", "toy-rigde", *RUN[2:]), ["Unknown method 'toy-rigde'", "Did you mean toy-ridge"]),
        (("run", "qqqqq", *RUN[2:]), ["Unknown method 'qqqqq'", "Known: c", ", eszsl, "]),
        (
            ("run", "tdsm", "--protocol", "purls-utd-mhad-22-6"),
            ["Unknown protocol 'purls-utd-mhad-22-6'", "purls-utd-mhad-22-5"],
        ),
        (
            (*RUN, "--skeleton-encoder", "toy-maen"),
            ["Unknown skeleton encoder", "Did you mean toy-mean", "list skeleton-encoders"],
        ),
        ((*RUN, "--text-encoder", "minlm"), ["Unknown text encoder", "Did you mean minilm"]),
        ((*RUN, "--texts", "c"), ["Unknown text set 'c'", "Known: a, b"]),
        ((*RUN, "--texts", "mine.toml"), ["Cannot read mine.toml"]),
        ((*RUN, "--profile", "labtop"), ["Unknown profile 'labtop'", "Did you mean laptop"]),
        ((*RUN, "--device", "gpu"), ["Unknown device 'gpu'", "auto, cpu, cuda"]),
        ((*RUN, "--selection", "lst"), ["'lst'", "last"]),
        ((*RUN, "--text-fields", "moton"), ["'moton'", "Did you mean motion"]),
        ((*RUN, "--set", "stepz=3"), ["no parameter 'stepz'", "Did you mean steps", "Valid: "]),
        ((*RUN, "--set", "toy-rigde.steps=3"), ["Unknown name in --set", "toy-ridge"]),
        ((*RUN, "--set", "steps"), ["--set 'steps' is not KEY=VALUE"]),
        ((*RUN, "--set", "steps=0"), ["steps = 0", "minimum of 1", "show toy-ridge"]),
        ((*RUN, "--set", "steps=many"), ["'many' is not of type 'integer'"]),
        ((*RUN, "--set", "toy-mean.lr=-1"), ["toy-mean: parameter lr", "learning rate"]),
        ((*RUN, "--plugin", "nowhere.py"), ["nowhere.py does not exist"]),
        ((*RUN, "--fix-encoder", "0", "--method-seeds", "0"), ["exclude each other"]),
        ((*RUN, "--dry-run", "--force"), ["exclude each other"]),
        (("show", "tdms"), ["Unknown name 'tdms'", "Did you mean tdsm"]),
        (("list", "metods"), ["Unknown list 'metods'", "Did you mean methods"]),
        (("compare", "--format", "tabel"), ["Unknown reporter 'tabel'", "Did you mean table"]),
        (("compare", "--protocol", "toy-4-3"), ["Unknown protocol", "Did you mean toy-4-2"]),
        (("data", "import", "utd-mahd", "x"), ["Unknown data set", "Did you mean utd-mhad"]),
        (("data", "import", "utd-mhad", "nowhere"), ["no file or folder nowhere", "Download"]),
        (("data", "rm", "toy-moton"), ["'toy-moton'", "Did you mean toy-motion"]),
        (("data", "verify", "toy-moton"), ["'toy-moton'"]),
    ],
    ids=lambda value: " ".join(value[-2:]) if isinstance(value, tuple) else "",
)
def test_what_nobody_knows_is_refused_with_the_nearest(type_, words, reasons):
    refused(type_(*words), *reasons)


@pytest.mark.parametrize(
    "seeds", ["a", "", ",", "0-", "-1", "3-1", "0,,1", "1.5", "²", "0-1000", "0-99999999999999"]
)
def test_what_is_no_list_of_seeds_is_refused(type_, seeds):
    refused(type_(*RUN, f"--seeds={seeds}"), f"'{seeds}' is not a list", "--seeds 0-4")


@pytest.mark.parametrize(
    ("seeds", "pairs"),
    [
        (["--seeds", "0-2"], [[0, 0], [1, 1], [2, 2]]),
        (["--seeds", "3,1,1-2"], [[3, 3], [1, 1], [2, 2]]),
        (["--seeds", "0,1", "--method-seeds", "5-6"], [[0, 5], [0, 6], [1, 5], [1, 6]]),
        (["--seeds", "0,1", "--fix-encoder", "7"], [[7, 0], [7, 1]]),
    ],
)
def test_seeds_are_pairs_of_encoder_and_method(type_, seeds, pairs):
    plan = json.loads(type_(*RUN, *seeds, "--dry-run", "--json").out)
    assert [run["seeds"] for run in plan["runs"]] == pairs


def test_a_data_set_that_is_not_there_tells_how_to_get_it(type_):
    said = type_("run", "tdsm", "--protocol", "purls-utd-mhad-22-5")
    refused(said, "'utd-mhad' has not been imported", "https://", "Then type: ")
    assert "zsar-bench data import utd-mhad PATH" in said.err


def test_a_plugin_that_is_broken_is_said_where_it_is_asked_for(type_, tmp_path):
    bad = tmp_path / "bad.py"
    bad.write_text("raise RuntimeError('spoiled')\n")
    said = type_("list", "plugins", "--plugin", bad, "--json")
    (row,) = [row for row in json.loads(said.out) if row["name"] == "bad"]
    assert (said.code, row["status"]) == (0, "broken")
    assert "spoiled" in row["errors"][0]


def test_compare_without_runs_says_how_to_start_some(type_):
    refused(type_("compare"), "no finished runs in results", "zsar-bench run METHOD --protocol ID")
    refused(type_("compare", "--protocol", "toy"), "no finished runs on 'toy'")


def test_files_and_names_cannot_forge_the_terminal(type_):
    said = type_("show", "\x1b[31m[bold]x[/bold]\x1b]0;t\x07")
    refused(said, "[bold]x[/bold]")
    assert not set(said.err) & {ESCAPE, "\x07"}


# --- Places that cannot be -------------------------------------------------------------------


@pytest.fixture
def known_catalogue(toy_process, monkeypatch):
    """The discovery child's answers are at hand; only storing them can go wrong."""
    monkeypatch.setattr(catalogue, "_query", known_plugins.answers())


@pytest.mark.parametrize("words", [("list",), ("data", "import", "toy-motion", "."), RUN])
def test_a_home_that_cannot_be_is_refused(known_catalogue, type_, tmp_path, monkeypatch, words):
    (tmp_path / "file").write_text("in the way")
    for home in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/no-such-place")):
        with pytest.raises(OSError, match=r"File exists|Not a directory|No such file"):
            home.mkdir(parents=True)  # or this test would show nothing, as root may do so much
        monkeypatch.setenv("ZSAR_BENCH_HOME", str(home))
        refused(type_(*words), "Cannot create the folder", str(home), "ZSAR_BENCH_HOME")
    assert (tmp_path / "file").read_text() == "in the way"


def test_results_that_cannot_be_are_refused(type_, tmp_path):
    (tmp_path / "file").write_text("in the way")
    said = type_(*RUN, "--results", tmp_path / "file")
    refused(said, "Cannot create the folder", "--results")


# --- Terminals -------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", ["40", "200"])
@pytest.mark.parametrize(
    "words",
    [
        ("list",),
        *(("list", what) for what in LISTS),
        ("show", "tdsm"),
        ("show", "toy-4-2"),
        ("show", "purls-utd-mhad-22-5"),
        ("data", "list"),
        (*RUN, "--dry-run"),
        ("compare", "--results", "finished"),
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_tables_fit_the_terminal(type_, finished, monkeypatch, words, columns):
    os.symlink(finished["folder"] / "results", "finished")
    monkeypatch.setenv("COLUMNS", columns)
    said = type_(*words)
    assert said.code == 0, said.err
    assert said.out.strip()
    assert max(map(len, said.out.splitlines())) <= int(columns), said.out
    assert ESCAPE not in said.out + said.err, "a file is not a terminal"


def on_a_terminal(cli: Cli, *words: str, env: dict[str, str]) -> str:
    """What a command writes to a terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "zsar_bench", *words],
        env=environment(cli.home, cli.site, {"TERM": "xterm-256color", **env}),
        cwd=cli.cwd,
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    said = b""
    try:
        while select.select([ours], [], [], TIMEOUT)[0] and (more := os.read(ours, 65536)):
            said += more
    except OSError:  # Linux says so when the other side is closed
        pass
    finally:
        os.close(ours)
        process.wait(TIMEOUT)
    return said.decode()


def test_colour_on_a_terminal_unless_it_is_not_wanted(cli):
    colour = re.compile(r"\x1b\[[\d;]*(?<!\d)(3[0-7]|38|4[0-7]|48|9[0-7])(?!\d)[\d;]*m")
    words = ("show", "tdms")
    assert colour.search(on_a_terminal(cli, *words, env={}))
    assert not colour.search(on_a_terminal(cli, *words, env={"NO_COLOR": "1"}))
    assert ESCAPE not in on_a_terminal(cli, *words, env={"TERM": "dumb"})


# --- Interruption ----------------------------------------------------------------------------


def descendants(pid: int) -> set[int]:
    """Every process below a process."""
    found: set[int] = set()
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            found |= {child} | descendants(child)
    return found


def workers(pids: set[int]) -> list[str]:
    """Command lines of those processes that are still our supervisors, workers or their server."""
    lines = []
    for pid in pids:
        try:
            line = Path(f"/proc/{pid}/cmdline").read_bytes().decode()
        except OSError:
            continue
        if "zsar_bench.worker.supervisor" in line or "zsar_bench.worker.forkserver" in line:
            lines.append(line.replace("\0", " "))
    return lines


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="looks for workers in /proc")
def test_an_interrupted_run_stops_its_workers_and_says_how_to_continue(cli, finished, tmp_path):
    pipe = tmp_path / "events"
    os.mkfifo(pipe)
    process = cli.start(
        *RUN,
        *("--set", "sleep=0.5", "--jobs", "2"),
        env={"ZSAR_BENCH_TOY_EVENTS": str(pipe)},
    )
    heard = b""
    with os.fdopen(os.open(pipe, os.O_RDWR), "rb", buffering=0) as events:
        while b'"stage": "fit"' not in heard:
            assert select.select([events], [], [], TIMEOUT)[0], "no fit was heard of"
            heard += events.read(65536)
        below = descendants(process.pid)
        assert len(workers(below)) >= 5, "a server, a fit and the tracker, each with its supervisor"
        process.send_signal(signal.SIGINT)
        # The pipe stays open until here: a tracker that nobody reads would hang, not die.
        out, err = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 130, err
    assert "Interrupted. The same command continues" in err
    assert "Traceback" not in err
    assert out == ""
    end = time.monotonic() + 5  # nobody waits for the server, which ends alone
    while workers(below) and time.monotonic() < end:
        time.sleep(0.02)
    assert workers(below) == []
    assert not list((tmp_path / "results").rglob("run.json"))

    plan = json.loads(cli(*RUN, "--dry-run", "--json").stdout)
    assert [run["state"] for run in plan["runs"]] == ["to be continued"]
    shutil.rmtree(tmp_path / "results")
