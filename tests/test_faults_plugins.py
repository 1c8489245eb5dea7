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
from conftest import Cli
from faults_tools import gone, leftovers, strays, whole

from zsar_bench.record import read_record

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

FAULTY = Path(__file__).parent / "plugins" / "faulty.py"
MEMORY = 1 << 30  #: bytes a worker may take; torch alone needs a quarter of it
SECONDS = 12  #: that a worker may take
LOG = 2 << 20  #: bytes of a log, however much is printed

#: What a run's status and reason are, fault by fault. ``None``: it is done, and honest.
ENDS: dict[str, tuple[str, str] | None] = {
    "raise": ("failed", "RuntimeError: this is the planted error"),
    "exit": ("failed", "SystemExit: this is the planted exit"),
    "os-exit": ("failed", "exited with code 7"),
    "segfault": ("failed", "SIGSEGV"),
    "loop": ("timeout", f"{SECONDS}"),
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
    text = (toy_site / "zsar_toy" / "protocols" / "toy-4-2.toml").read_text()
    text = text.partition("[samples]")[0].replace("toy-4-2", "toy-xsub").replace('"toy"', '"txs"')
    path = tmp_path_factory.mktemp("protocol") / "toy-xsub.toml"
    sides = '[samples]\nrule = "xsub"\ntrain = ["1", "3", "5", "7"]\ntest_clips = 16\n'
    path.write_text(text + sides)
    return path


class Field:
    """A store, a results folder and commands on them.

    Attributes:
        commands: run on this field so far.
    """

    def __init__(self, cli: Cli, protocol: Path) -> None:
        self.cli = cli
        self.results = cli.cwd / "results"
        self.words = ("run", "--protocol", protocol, "--plugin", FAULTY, "--json", "--quiet")

    def run(self, *words: object, check: int, env: dict[str, str] | None = None) -> dict[str, Any]:
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
def field(cli: Cli, protocol: Path) -> Field:
    return Field(cli, protocol)


HONEST = ("--skeleton-encoder", "honest-mean", "--text-encoder", "toy-hash")
LIMITS = ("--timeout", SECONDS, "--memory-limit", f"{MEMORY >> 20}MB")


def judge_methods(field: Field, cases: list[str]) -> None:
    """Run these methods beside an honest one, twice; everything about how they end."""
    answer = field.run("honest", *cases, *HONEST, *LIMITS, check=1)
    rows = {row["method"]: row for row in answer["runs"]}
    assert rows["honest"]["status"] == "done"
    good = {"honest", *(case for case in cases if ENDS[_fault(case)] is None)}
    for case in cases:
        expected = ENDS[_fault(case)]
        if expected is None:
            assert rows[case]["status"] == "done", case
            continue
        status, reason = expected
        assert rows[case]["status"] == status, (case, rows[case])
        assert reason in rows[case]["reason"], (case, rows[case])
    runs = {read_record(run).method.name: run for run in whole(field.cli.home, field.results)}
    assert set(runs) == good
    for name in good:
        same = (runs[name] / "predictions.safetensors").read_bytes()
        assert same == (runs["honest"] / "predictions.safetensors").read_bytes(), name
    assert field.compared() == good
    for log in field.results.rglob("*.log"):
        assert log.stat().st_size < LOG, log
    # The same command tries again what failed, and nothing else.
    dry = field.run("honest", *cases, *HONEST, *LIMITS, "--dry-run", check=0)
    states = {row["method"]: row["state"] for row in dry["runs"]}
    assert {name for name, state in states.items() if state == "cached"} == good


def _fault(case: str) -> str:
    return next(f for f in sorted(ENDS, key=len, reverse=True) if case.endswith(f"-{f}"))


def test_a_methods_faults(field: Field) -> None:
    judge_methods(
        field,
        [
            *("fit-raise", "fit-memory", "fit-loop", "fit-fork", "fit-fork-exit", "fit-flood"),
            *("bind-segfault", "score-os-exit", "score-columns", "score-nan", "score-dtype"),
            *("adapt-exit", "state-dict-nan", "load-state-dict-raise"),
        ],
    )


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["fit", "bind", "adapt", "score", "state-dict", "load-state-dict"])
def test_every_fault_of_a_methods_verb(verb: str, field: Field) -> None:
    anywhere = list(ENDS)[: list(ENDS).index("nan")]
    values = {"score": ["nan", "shape", "columns", "dtype", "list"], "state-dict": ["nan", "list"]}
    judge_methods(field, [f"{verb}-{fault}" for fault in (*anywhere, *values.get(verb, ()))])
