"""Plugins that go wrong: their run says how, is no result and can be tried again; others go on.

``tests/plugins/faulty.py`` has a method or an encoder for every verb and fault. A few of each
are tried in any case, all of them with ``-m slow``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kit.command import Cli
from kit.faults import gone, one_round, strays, whole
from kit.paths import PLUGINS
from zsar_bench.api import running
from zsar_bench.catalogue import catalogue
from zsar_bench.plans.request import Request
from zsar_bench.records.files import read_record
from zsar_bench.sandbox import client

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

FAULTY = PLUGINS / "faulty.py"
MEMORY = 1 << 30  #: bytes a worker may take; torch alone needs a quarter of it
SECONDS = 12  #: that a worker may take
LESS = 8  #: where one of them takes them all, and hardly anything else is to be done
LOG = 2 << 20  #: bytes of a log, however much is printed

#: What a run's status and reason are, fault by fault. ``None``: it is done, and honest.
ENDS: dict[str, tuple[str, str] | None] = {
    "raise": ("failed", "RuntimeError: this is the planted error"),
    "exit": ("failed", "SystemExit: this is the planted exit"),
    "os-exit": ("failed", "exited with code 7"),
    "segfault": ("failed", "SIGSEGV"),
    "loop": ("timeout", "over the time limit of {seconds} s (--timeout)"),
    "memory": ("oom", "memory"),
    "fork": None,
    "fork-exit": ("failed", "exited with code 5"),
    "flood": ("failed", "RuntimeError: this is the planted error after a flood"),
    "nan": ("failed", "finite"),
    "shape": ("failed", "shape"),
    "columns": ("failed", "shape"),
    "dtype": ("failed", ""),
    "list": ("failed", ""),
}


@pytest.fixture(scope="module")
def protocol(toy_site: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``toy-4-2`` in one round: workers cost time."""
    return one_round(toy_site, tmp_path_factory.mktemp("protocol"))


class Field:
    """A store, a results folder and commands on them.

    Attributes:
        commands: run on this field so far.
    """

    def __init__(self, cli: Cli, protocol: Path) -> None:
        self.cli = cli
        self.results = cli.cwd / "results"
        self.words = ("run", "--protocol", protocol, "--plugin", FAULTY, "--json", "--quiet")

    def run(
        self, *words: object, check: int | None, env: dict[str, str] | None = None
    ) -> dict[str, Any]:
        """A run's answer, with what it said besides as ``said``."""
        done = self.cli(*self.words, *words, check=check, env=env)
        answer: dict[str, Any] = json.loads(done.stdout) if done.stdout else {}
        assert strays(self.cli.cwd) == {}
        assert not _children()
        return answer | {"said": done.stderr}

    def compared(self) -> set[str]:
        """Methods that appear as numbers in a comparison of all that is there."""
        done = self.cli("compare", "--json")
        return {r["method"] for s in json.loads(done.stdout)["sections"] for r in s["rows"]}


def _children() -> list[str]:
    """Children that a plugin has left behind."""
    names = (p / "comm" for p in Path("/proc").iterdir() if p.name.isdecimal())
    found: Iterator[str] = (_text(name) for name in names)
    return [name for name in found if "faulty-child" in name]


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


@pytest.fixture
def field(cli: Cli, protocol: Path, forked_fingerprints: None) -> Field:
    return Field(cli, protocol)


HONEST = ("--skeleton-encoder", "honest-mean", "--text-encoder", "toy-hash")


def limits(seconds: int = SECONDS) -> tuple[object, ...]:
    return ("--timeout", seconds, "--memory-limit", f"{MEMORY >> 20}MB")


def judge_methods(field: Field, cases: list[str], seconds: int = SECONDS) -> None:
    """Run these methods beside an honest one, twice; everything about how they end."""
    words = ("honest", *cases, *HONEST, *limits(seconds))
    answer = field.run(*words, check=1)
    rows = {row["method"]: row for row in answer["runs"]}
    assert rows["honest"]["status"] == "done"
    good = {"honest", *(case for case in cases if ENDS[_fault(case)] is None)}
    wrong = [_mismatch(case, rows[case]["status"], answer["said"], seconds) for case in cases]
    assert not list(filter(None, wrong)), answer["said"]
    assert "these are its last words" in answer["said"] or "score-os-exit" not in cases
    runs = {read_record(run).method.name: run for run in whole(field.cli.home, field.results)}
    assert set(runs) == good
    for name in good:
        same = (runs[name] / "predictions.safetensors").read_bytes()
        assert same == (runs["honest"] / "predictions.safetensors").read_bytes(), name
    assert field.compared() == good
    for log in field.results.rglob("*.log"):
        assert log.stat().st_size < LOG, log
    # The same command tries again what failed, and nothing else.
    dry = field.run(*words, "--dry-run", check=0)
    states = {row["method"]: row["state"] for row in dry["runs"]}
    assert {name for name, state in states.items() if state == "cached"} == good


def _mismatch(case: str, status: str, said: str, seconds: int) -> str:
    """How a run's end differs from what it should be; empty if it does not."""
    wanted, reason = ENDS[_fault(case)] or ("done", "")
    reason = reason.format(seconds=seconds)
    told = [line for line in said.splitlines() if line.startswith(f"{status}: {case} ")]
    right = status == wanted and (status == "done" or (len(told) == 1 and reason in told[0]))
    return "" if right else f"{case}: {status} {told}, not {wanted} {reason}"


def _fault(case: str) -> str:
    return next(f for f in sorted(ENDS, key=len, reverse=True) if case.endswith(f"-{f}"))


def _faults_of(verb: str) -> list[str]:
    """All that ``faulty.py`` has for a verb, but two processes where there was one."""
    values = {
        "score": ("nan", "shape", "columns", "dtype", "list"),
        "state-dict": ("nan", "list"),
        "encode": ("nan", "shape", "dtype", "list"),
    }
    return [*list(ENDS)[: list(ENDS).index("nan")], *values.get(verb, ())]


def test_a_methods_faults(field: Field) -> None:
    judge_methods(
        field,
        [
            *("fit-raise", "fit-memory", "fit-fork", "fit-fork-exit", "fit-flood"),
            *("bind-segfault", "score-os-exit", "score-columns", "score-nan", "score-dtype"),
            *("adapt-exit", "state-dict-nan", "load-state-dict-raise"),
        ],
    )


def test_a_method_that_never_ends(field: Field) -> None:
    judge_methods(field, ["fit-loop"], LESS)


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["fit", "bind", "adapt", "score", "state-dict", "load-state-dict"])
def test_every_fault_of_a_methods_verb(verb: str, field: Field) -> None:
    judge_methods(field, [f"{verb}-{fault}" for fault in _faults_of(verb)])


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["fit", "bind", "score"])
def test_two_processes_that_both_go_on(verb: str, field: Field) -> None:
    """A forked child answers, too: the run fails, or its numbers are the honest ones."""
    case = f"{verb}-fork-both"
    answer = field.run("honest", case, *HONEST, *limits(), check=None)
    status = {row["method"]: row["status"] for row in answer["runs"]}
    assert status["honest"] == "done"
    runs = {read_record(run).method.name: run for run in whole(field.cli.home, field.results)}
    assert (case in runs) == (status[case] == "done")
    predictions = {(run / "predictions.safetensors").read_bytes() for run in runs.values()}
    assert len(predictions) == 1


# --- Encoders, texts, metrics, reporters -------------------------------------------------------


ENCODERS_END = {
    "nan": ("failed", "values"),
    "shape": ("failed", "shape"),
    "dtype": ("failed", "complex64"),
    "list": ("failed", "object has no attribute"),
}


def judge_encoder(field: Field, case: str, *texts: str, seconds: int = SECONDS) -> None:
    """An encoder's fault is that of all runs with it; the cache is not touched by it."""
    before = {p.name for p in (field.cli.home / "encoders").glob("[!.]*")}
    kept = {p.name for p in (field.cli.home / "texts").glob("[!.]*")}
    skeletons = "honest-mean" if texts else case
    chosen = ("--skeleton-encoder", skeletons, "--text-encoder", *(texts or ("toy-hash",)))
    expected = ENDS[_fault(case)]
    answer = field.run("honest", *chosen, *limits(seconds), check=1 if expected else 0)
    whole(field.cli.home, field.results)
    if expected is None:
        assert [row["status"] for row in answer["runs"]] == ["done"]
        return
    status, reason = ENCODERS_END.get(_fault(case), expected)
    said = answer["said"]
    if answer.get("runs"):
        assert [row["status"] for row in answer["runs"]] == [status], said
        assert f"{status}: " in said
    assert reason.format(seconds=seconds) in said
    assert "Traceback (most" not in said.partition("\n")[0]
    assert whole(field.cli.home, field.results) == []
    if texts:
        assert {p.name for p in (field.cli.home / "texts").glob("[!.]*")} == kept
    else:
        assert {p.name for p in (field.cli.home / "encoders").glob("[!.]*")} == before


@pytest.mark.parametrize("case", ["fit-loop", "encode-nan", "encode-dtype", "state-dict-list"])
def test_a_skeleton_encoders_faults(case: str, field: Field) -> None:
    # Whatever else takes so long, it is over the limit, too.
    judge_encoder(field, f"encoder-{case}", seconds=3 if case == "fit-loop" else SECONDS)


@pytest.fixture
def new_workers(field: Field, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fingerprints come from new processes, as they do for users."""
    monkeypatch.setattr(client, "FORKED", tuple(k for k in client.FORKED if k != "print"))


@pytest.mark.usefixtures("new_workers")
def test_a_text_encoders_faulty_fingerprint(field: Field) -> None:
    judge_encoder(field, "fingerprint-raise", "texts-fingerprint-raise")


@pytest.mark.parametrize("case", ["encode-shape", "encode-dtype"])
def test_a_text_encoders_faults(case: str, field: Field) -> None:
    judge_encoder(field, case, f"texts-{case}")


TWINS = """
from zsar_bench import SkeletonEncoderSpec, params
from zsar_bench.hookspecs import hookimpl

api = 1

class Params(params.Params):
    "None."

class One:
    def __init__(self, params): ...
    fit = encode = module = state_dict = load_state_dict = lambda self, *given: None

class Other(One):
    "It computes something else."

@hookimpl
def register_skeleton_encoders(registry):
    for name in ("One", "Other"):
        registry.skeleton_encoder(
            SkeletonEncoderSpec(
                name=f"twin-{name.lower()}",
                target=f"{__name__}:{name}",
                params=f"{__name__}:Params",
                summary="one of two",
            )
        )
"""


def test_two_encoders_of_one_file_share_no_features(toy_process: Path, tmp_path: Path) -> None:
    plugin = tmp_path / "twins.py"
    plugin.write_text(TWINS)
    known = catalogue.load([plugin])
    keys = set()
    for name in ("twin-one", "twin-other"):
        request = Request(
            methods=("toy-ridge",),
            protocol="toy-4-2",
            results=tmp_path / "results",
            skeleton_encoder=name,
            text_encoder="toy-hash",
        )
        keys |= {encoder.key for encoder in running.plan(request, catalogue=known).runs[0].encoders}
    assert len(keys) == 4  # two rounds of two encoders


METRIC = """
import os
from zsar_bench import MetricSpec
from zsar_bench.hookspecs import hookimpl

api = 1

def metric(scores, labels, subjects):
    {code}

@hookimpl
def register_metrics(registry):
    registry.metric(MetricSpec(name="bad", target=f"{{__name__}}:metric", summary="it is bad"))
"""
BAD_METRICS = {
    "raise RuntimeError('this is the planted error')": "planted error",
    "return float('nan')": "finite",
    "return 'much'": "float",
    "os._exit(7)": "exited with code 7",
    "while True: pass": f"{SECONDS}",
}


@pytest.mark.parametrize("code", list(BAD_METRICS)[:2])
def test_a_metrics_faults(code: str, field: Field, tmp_path: Path) -> None:
    judge_metric(code, field, tmp_path)


def judge_metric(code: str, field: Field, tmp_path: Path) -> None:
    """A run without one of its numbers is none; without the metric it is there at once."""
    plugin = tmp_path / "metric.py"
    plugin.write_text(METRIC.format(code=code))
    answer = field.run("honest", *HONEST, *limits(), "--plugin", plugin, check=1)
    (row,) = answer["runs"]
    assert row["status"] == ("timeout" if "while" in code else "failed")
    assert BAD_METRICS[code] in answer["said"]
    assert whole(field.cli.home, field.results) == []
    assert field.run("honest", *HONEST, check=0)["runs"][0]["status"] == "done"


@pytest.mark.parametrize("fault", ["raise", "os-exit"])
def test_a_reporters_faults(fault: str, cli: Cli, toy_run: Path) -> None:
    judge_reporter(fault, cli, toy_run)


def judge_reporter(fault: str, cli: Cli, toy_run: Path) -> None:
    results = toy_run.parents[3]
    before = (toy_run / "run.json").read_bytes()
    words = ("compare", "--results", results, "--plugin", FAULTY, "--format", f"report-{fault}")
    done = cli(*words, check=1)
    assert done.stdout == ""
    assert ENDS[fault][1] in done.stderr
    assert (toy_run / "run.json").read_bytes() == before
    gone(set(), cli.cwd)


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["fit", "encode", "state-dict", "load-state-dict"])
def test_every_fault_of_a_skeleton_encoders_verb(verb: str, field: Field) -> None:
    for fault in _faults_of(verb):
        judge_encoder(field, f"encoder-{verb}-{fault}")


@pytest.mark.slow
@pytest.mark.usefixtures("new_workers")
@pytest.mark.parametrize("verb", ["fingerprint", "encode"])
def test_every_fault_of_a_text_encoders_verb(verb: str, field: Field) -> None:
    for fault in _faults_of(verb):
        judge_encoder(field, f"{verb}-{fault}", f"texts-{verb}-{fault}")


@pytest.mark.slow
@pytest.mark.parametrize("code", list(BAD_METRICS)[2:])
def test_other_faults_of_metrics(code: str, field: Field, tmp_path: Path) -> None:
    judge_metric(code, field, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["exit", "segfault", "fork-exit", "flood"])
def test_other_faults_of_reporters(fault: str, cli: Cli, toy_run: Path) -> None:
    judge_reporter(fault, cli, toy_run)
