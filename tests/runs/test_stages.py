"""Stages: what their keys depend on, and how their store makes, keeps and deletes them."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import zsar_bench as zb
from kit.command import Cli
from kit.made_plans import PROTOCOL, TEXTS, encoders, method, plan, settings, text_plan
from zsar_bench.api.results import Cleaned
from zsar_bench.catalogue.machine import Machine
from zsar_bench.common.checksums import Damaged, sealed_content, write_sealed
from zsar_bench.common.events import ignore_event
from zsar_bench.common.files import NOT_FOR_PLUGINS, WORK, locked
from zsar_bench.plans.run_plan import RunPlan
from zsar_bench.runs.finish import stages_of
from zsar_bench.runs.fit import full_training
from zsar_bench.runs.stages import stage as stages
from zsar_bench.runs.stages.stage import Stage
from zsar_bench.runs.stages.store import ABOUT, Leases, Store

STAGE = Stage("fit", {"seed": 1}, {"texts": ["wave"]})


def key(changed: RunPlan) -> str:
    return full_training(changed, 0).stage.key


# --- Keys --------------------------------------------------------------------------------------


def other_texts() -> Any:
    fields = {f: {c: f"{text}!" for c, text in texts.items()} for f, texts in TEXTS.fields.items()}
    return replace(TEXTS, fields=fields)


#: What a fit depends on -> a run that differs from ``plan()`` in it alone.
OTHERS = {
    "method seed": {"method_seed": 1},
    "encoder seed": {"encoder_seed": 1},
    "parameter": {"params": settings(rate=0.2)},
    "code": {"method": method("d" * 64)},
    "features": {"encoders": encoders("f" * 64)},
    "training clips": {"encoders": encoders()[::-1]},
    "states to keep": {"rule": "oracle@5"},
    "text encoder": {"texts": text_plan(fingerprint="weights-2")},
    "class texts": {"class_texts": other_texts()},
    "text fields": {"fields": ("motion",)},
    "threads": {"machine": Machine("cpu", 2)},
}


@pytest.mark.parametrize("what", OTHERS)
def test_a_fit_depends_on(what: str) -> None:
    assert key(plan(**OTHERS[what])) != key(plan())


#: What it does not depend on: such runs share it.
ALIKE = {
    "runtime parameter": {"params": replace(settings(rate=0.1), runtime={"batch": 2})},
    "rule of the last state": {"rules": ("last",)},
    "GZSL": {"gzsl": "constant"},
    "limits": {"machine": Machine("cpu", 1, timeout=9.0, memory=2**30)},
    "name of the protocol": {"protocol": replace(PROTOCOL, id="made-again")},
}


@pytest.mark.parametrize("what", ALIKE)
def test_runs_share_a_fit_whatever_their(what: str) -> None:
    assert key(plan(**ALIKE[what])) == key(plan())


def test_another_processor_or_torch_makes_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {Stage(STAGE.kind, STAGE.job, STAGE.inputs).key}
    for name in ("processor", "torch_version"):
        monkeypatch.setattr(stages, name, lambda: "another")
        keys.add(Stage(STAGE.kind, STAGE.job, STAGE.inputs).key)
    assert len(keys) == 3


def test_a_runs_stages_are_the_fits_that_its_rule_and_gzsl_need() -> None:
    seen = tuple(f"a{n}" for n in (1, 2))
    pair = replace(PROTOCOL, seen=seen, unseen=("a3", "a4"), pseudo_unseen=("a2",))
    base = plan(protocol=pair, encoders=encoders(protocol=pair))
    last, chosen = stages_of(base), stages_of(replace(base, rule="pseudo-unseen"))
    assert (len(last), len(set(last))) == (2, 2)  # a fit a round
    assert (len(chosen), len(set(chosen))) == (4, 4)  # and one without the held-out class
    assert not {*last} & {*chosen}  # those keep states
    assert len({*last, *stages_of(replace(base, rules=("last", "oracle@5")))}) == 4


# --- The store ---------------------------------------------------------------------------------


class Work:
    """Makes a stage of two files, and counts how often."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds, self.times = seconds, 0

    def __call__(self, folder: Path) -> dict[str, Any]:
        self.times += 1
        time.sleep(self.seconds)
        for name in ("state.sealed", "states/3.sealed"):
            (folder / name).parent.mkdir(exist_ok=True)
            write_sealed(folder / name, b"a state", STAGE.key)
        return {"outputs": ["state.sealed", "states/3.sealed"], "made": self.times}


def test_it_is_made_once_and_found_again(tmp_path: Path) -> None:
    work, store = Work(), Store(tmp_path)
    for _ in range(2):
        with store.made(STAGE, work, ignore_event) as folder:
            assert sealed_content(folder / "states/3.sealed", STAGE.key) == b"a state"
    assert work.times == 1
    assert Store(tmp_path).about(STAGE)["made"] == 1
    store.drop([STAGE.key, "no such key"])
    assert list(tmp_path.iterdir()) == []


def test_many_at_once_make_it_once(tmp_path: Path) -> None:
    work = Work(0.2)

    def need() -> None:
        with Store(tmp_path).made(STAGE, work, ignore_event):
            pass

    crowd = [threading.Thread(target=need) for _ in range(8)]
    for one in crowd:
        one.start()
    for one in crowd:
        one.join()
    assert work.times == 1


@pytest.mark.parametrize("name", ["state.sealed", "states/3.sealed", ABOUT])
@pytest.mark.parametrize("damage", ["flip", "cut", "gone"])
def test_what_is_damaged_is_made_again(name: str, damage: str, tmp_path: Path) -> None:
    work, notes = Work(), list[dict[str, Any]]()
    with Store(tmp_path).made(STAGE, work, ignore_event) as folder:
        file = folder / name
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.unlink()
    if damage != "gone":
        file.write_bytes(content if damage == "flip" else content[:-3])
    Store._checked.clear()  # as a new command
    with Store(tmp_path).made(STAGE, work, notes.append):
        assert sealed_content(folder / name, STAGE.key)
    assert work.times == 2
    if (name, damage) != (ABOUT, "gone"):  # then it is only unfinished
        (note,) = notes
        assert str(file) in note["note"]


def test_what_another_key_owns_is_not_taken(tmp_path: Path) -> None:
    work, other = Work(), Stage("fit", {"seed": 2}, {})
    with Store(tmp_path).made(STAGE, work, ignore_event) as folder:
        pass
    folder.rename(Store(tmp_path).place(other))
    with pytest.raises(Damaged):
        Store(tmp_path).about(other)


def test_an_attempt_that_failed_leaves_what_the_next_goes_on_from(tmp_path: Path) -> None:
    store = Store(tmp_path)

    def fail(folder: Path) -> dict[str, Any]:
        (folder / "checkpoint.sealed").write_bytes(b"half way")
        raise RuntimeError("the planted error")

    with pytest.raises(RuntimeError, match="planted"), store.made(STAGE, fail, ignore_event):
        pass
    assert not (store.place(STAGE) / ABOUT).exists()

    def go_on(folder: Path) -> dict[str, Any]:
        return {"outputs": [], "from": (folder / "checkpoint.sealed").read_bytes().decode()}

    with store.made(STAGE, go_on, ignore_event):
        assert store.about(STAGE)["from"] == "half way"


def test_nobody_deletes_what_somebody_reads(tmp_path: Path) -> None:
    work = Work()
    with Store(tmp_path).made(STAGE, work, ignore_event) as folder:
        with Store(tmp_path).made(STAGE, work, ignore_event):  # two may read
            Store(tmp_path).drop([STAGE.key])
        Store(tmp_path).drop([STAGE.key])
        assert sealed_content(folder / "state.sealed", STAGE.key)
    assert work.times == 1
    Store(tmp_path).drop([STAGE.key])
    assert not folder.exists()


def test_cleaning_up_spares_what_is_in_use(tmp_path: Path) -> None:
    work, other = Work(), Stage("fit", {"seed": 2}, {})
    half = Store(tmp_path).place(other)
    half.mkdir(parents=True)
    (half / "checkpoint.sealed").write_bytes(bytes(3_000_000))
    with Store(tmp_path).made(STAGE, work, ignore_event) as folder:
        assert zb.clean_results(tmp_path) == Cleaned(stages=1, megabytes=3.0, in_use=1)
        assert sealed_content(folder / "state.sealed", STAGE.key)
    assert not half.exists()
    assert zb.clean_results(tmp_path).stages == 1
    assert zb.clean_results(tmp_path) == Cleaned(0, 0.0, 0)
    assert not (tmp_path / "work").exists()
    assert WORK in NOT_FOR_PLUGINS


def test_the_command_that_cleans_up(cli: Cli) -> None:
    words = ("toy-faulty", "--set", "fault=raise", "--set", "at=score")
    cli.run(*words, check=1)
    assert cli("results", "clean").stdout.startswith("2 pieces of unfinished work deleted, ")
    assert not (cli.cwd / "results" / "work").exists()
    assert json.loads(cli("results", "clean", "--json").stdout)["stages"] == 0
    assert "0 pieces" in cli("results", "clean", "nowhere").stdout


def test_who_waited_for_what_was_deleted_makes_it_again(tmp_path: Path) -> None:
    work, store = Work(), Store(tmp_path)
    folder = store.place(STAGE)
    with locked(folder):  # another command is about to delete it
        second = threading.Thread(target=lambda: store.made(STAGE, work, ignore_event).__enter__())
        second.start()
        time.sleep(0.2)
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
    second.join()
    assert work.times == 1
    assert (folder / ABOUT).is_file()


def test_a_stage_is_let_go_by_the_last_run_that_needs_it() -> None:
    needs = {"one": ["a", "b"], "two": ["b", "c"], "three": ["c"]}
    leases = Leases(needs, needs.__getitem__)
    assert leases.unused(["a", "d"]) == {"d"}
    assert leases.end("one") == {"a"}
    assert leases.end("one") == set()
    assert leases.end("three") == set()
    assert leases.end("two") == {"b", "c"}
