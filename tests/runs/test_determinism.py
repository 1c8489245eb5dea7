"""The same run gives the same bytes, whatever runs beside it or before it; repeatable CUDA."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kit.command import Cli, environment
from kit.paths import ROOT
from zsar_bench.api import requests, running
from zsar_bench.catalogue import catalogue
from zsar_bench.catalogue.catalogue import Catalogue
from zsar_bench.plans.request import Request
from zsar_bench.plans.run_plan import RunPlan
from zsar_bench.records.files import read_record
from zsar_bench.records.schema import Record

TINY = {"width": 16, "depth": 1, "heads": 2, "steps": 6, "batch": 8, "local_tokens": 3}
SETS = [word for name, value in TINY.items() for word in ("--set", f"tdsm.{name}={value}")]
BESIDE = ("toy-faulty", "tdsm", *SETS, "toy-ridge")


class Made(SimpleNamespace):
    """What one command left: predictions' bytes and records by method, features' bytes by path."""


def make(cli: Cli, home: Path, results: Path, *words: object) -> Made:
    """Run a command to its end; collect what it left."""
    cli.run(*words, "--results", results, home=home)
    folders = {p.parent.name: p for p in (results / "runs").glob("*/*/[!.]*")}
    return Made(
        predictions={m: (f / "predictions.safetensors").read_bytes() for m, f in folders.items()},
        records={m: read_record(f) for m, f in folders.items()},
        features={
            str(p.relative_to(home)): p.read_bytes()
            for p in sorted((home / "encoders").rglob("*.safetensors"))
        },
    )


@pytest.fixture(scope="module")
def alone(toy_store: Path, toy_site: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """``toy-ridge`` and ``tdsm``, each the only run of its command, one worker at a time."""
    home, results, cli = place(toy_store, toy_site, tmp_path_factory.mktemp("alone"))
    make(cli, home, results, "toy-ridge", "--jobs", 1)
    return make(cli, home, results, "tdsm", *SETS, "--jobs", 1)


@pytest.fixture(scope="module")
def sweep(toy_store: Path, toy_site: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """The same two behind another run and beside each other, with four workers at once.

    In a process of its own, whose strings have other hashes and whose sets another order.
    """
    home, results, cli = place(toy_store, toy_site, tmp_path_factory.mktemp("sweep"))
    cli.real = True
    return make(cli, home, results, *BESIDE, "--jobs", 4)


def place(toy_store: Path, toy_site: Path, work: Path) -> tuple[Path, Path, Cli]:
    """A store without what earlier tests have computed, a folder for results, the commands."""
    home = shutil.copytree(toy_store, work / "home")
    return home, work / "results", Cli(home, toy_site, work, real=False)


def test_a_run_is_the_same_alone_and_in_a_sweep(alone: Made, sweep: Made) -> None:
    assert set(alone.predictions) == {"toy-ridge", "tdsm"}
    assert set(sweep.predictions) == {"toy-faulty", "toy-ridge", "tdsm"}
    for method, predictions in alone.predictions.items():
        assert sweep.predictions[method] == predictions, method
    assert len(set(sweep.predictions.values())) == 2  # toy-faulty has no fault here


def test_features_are_the_same_alone_and_in_a_sweep(alone: Made, sweep: Made) -> None:
    assert len(alone.features) > 10
    assert sweep.features == alone.features


def test_records_differ_in_times_only(alone: Made, sweep: Made) -> None:
    def lasting(record: Record) -> dict[str, Any]:
        told = record.model_dump()
        del told["created"], told["seconds"]
        for one in told["encoder"]["rounds"]:
            del one["seconds"]
        return told

    for method, record in alone.records.items():
        assert lasting(record) == lasting(sweep.records[method])


# --- CUDA --------------------------------------------------------------------------------------

SWITCHES = """
import json, os, warnings
warnings.simplefilter("error")
import torch
from zsar_bench.worker.job import device_of
for name, deterministic in (("cpu", False), ("cpu", True), ("cuda", False), ("cuda", True)):
    device = device_of({"device": name, "threads": 1, "deterministic": deterministic})
    print(json.dumps([
        str(device),
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.backends.cudnn.deterministic,
        torch.backends.cudnn.benchmark,
        torch.backends.cuda.matmul.allow_tf32,
        torch.backends.cudnn.allow_tf32,
        torch.get_float32_matmul_precision(),
        os.environ.get("CUBLAS_WORKSPACE_CONFIG"),
    ]))
torch.zeros(9).put_(torch.tensor([0, 0]), torch.ones(2))  # one of the few a CPU refuses, too
"""


def test_deterministic_switches_torch_on_cuda_and_touches_nothing_on_a_cpu() -> None:
    # What a worker does to itself; needs no GPU.
    env = environment(ROOT, None)
    env.pop("CUBLAS_WORKSPACE_CONFIG", None)
    done = subprocess.run(
        [sys.executable, "-c", SWITCHES], capture_output=True, text=True, check=False, env=env
    )
    plain, cpu, cuda, sure = map(json.loads, done.stdout.splitlines())
    assert plain[:2] == ["cpu", False]
    assert cpu == plain
    assert cuda == ["cuda", *plain[1:]]
    assert sure == ["cuda", True, False, True, False, False, False, "highest", ":4096:8"]
    # What has no repeatable form is an error that names it, never a silent exception.
    assert done.returncode == 1
    assert "put_" in done.stderr
    assert "deterministic" in done.stderr


@pytest.mark.parametrize("cuda", [False, True])
def test_the_option_reaches_every_machine_of_a_plan(
    cuda: bool, toy_process: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "text_fingerprint", lambda *where: "toy-hash-1")
    found = catalogue.load()
    known = Catalogue(found.data | {"machine": {"cuda": cuda, "device": "a card"}}, [])

    def planned(deterministic: bool) -> RunPlan:
        request = Request(
            methods=("toy-ridge",),
            protocol="toy-4-2",
            results=tmp_path,
            skeleton_encoder="toy-mean",
            text_encoder="toy-hash",
            deterministic=deterministic,
        )
        return running.plan(request, catalogue=known).runs[0]

    on, off = planned(True), planned(False)
    machines = [on.machine, on.texts.machine, *(e.machine for e in on.encoders)]
    for machine in machines:
        assert machine.job("fit", on.method, {})["deterministic"] is True
        assert machine.identity.get("deterministic", False) is cuda
    assert (on.run_id == off.run_id) is not cuda
    same = [a.key == b.key for a, b in zip(on.encoders, off.encoders, strict=True)]
    assert same == [not cuda] * 2
    reasons = {what: reason for what, _, reason in on.choices}
    assert reasons["device"].endswith("; deterministic") is cuda


def test_run_knows_the_word(cli: Cli) -> None:
    words = ("toy-ridge", "--device", "cpu", "--dry-run", "--json")
    plain, sure = (json.loads(cli.run(*words, *more).stdout) for more in ((), ("--deterministic",)))
    assert sure == plain
    assert "--deterministic" in cli("run", "--help").stdout


def test_the_benchmark_refuses_without_a_gpu(cli: Cli) -> None:
    env = environment(cli.home, cli.site, {"CUDA_VISIBLE_DEVICES": ""})
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "determinism.py")],
        capture_output=True,
        text=True,
        check=False,
        env=env,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "no CUDA device here" in done.stderr
