"""Jobs in a thread of this process: the same bytes, the same errors, and no confinement."""

from __future__ import annotations

import random
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kit.command import Cli, workers
from kit.rogue import ROGUE
from zsar_bench.errors import RunFailed, UserError
from zsar_bench.records.files import read_record
from zsar_bench.sandbox.inprocess import InProcessWorker


def job(**more: Any) -> dict[str, Any]:
    about = {"kind": "report", "plugin_files": [str(ROGUE)], "target": "zsar_plugin_rogue:act"}
    return about | {"threads": 1} | more


def only(folder: Path) -> Path:
    (run,) = (folder / "runs").glob("*/*/[!.]*")
    return run


def made(home: Path) -> dict[str, bytes]:
    """The encoders and texts of a store, by file; notes hold times and levels."""
    files = [*home.glob("encoders/**/*.safetensors"), *home.glob("texts/**/*.safetensors")]
    return {str(file.relative_to(home)): file.read_bytes() for file in files}


def test_a_run_is_the_same_byte_for_byte(cli: Cli, toy_raw: Path, tmp_path: Path) -> None:
    """With two homes, so that encoders and texts are made by both kinds of workers."""
    homes = {}
    for way, as_asked in (("real", nullcontext()), ("here", workers(InProcessWorker))):
        homes[way] = tmp_path / f"home of {way}"
        cli("data", "import", "toy-motion", toy_raw, home=homes[way])
        with as_asked:
            cli.run("toy-ridge", "--results", tmp_path / way, home=homes[way])
    real, here = only(tmp_path / "real"), only(tmp_path / "here")
    assert real.name == here.name
    scores = "predictions.safetensors"
    assert (real / scores).read_bytes() == (here / scores).read_bytes()
    assert made(homes["real"]) == made(homes["here"]) != {}
    one, other = read_record(real), read_record(here)
    assert one.metrics == other.metrics
    assert one.certificate is not None
    assert other.certificate is not None
    assert other.certificate.confinement.level == "process"
    for part in ("bundles", "fitted", "scored", "encoder_classes", "encoder_clips"):
        assert getattr(one.certificate, part) == getattr(other.certificate, part)


def test_what_a_plugin_raises_fails_its_run(cli: Cli) -> None:
    with workers(InProcessWorker):
        done = cli.run("toy-faulty", "--set", "fault=raise", "--set", "at=score", check=1)
    assert "this is the planted" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_errors_come_as_from_a_process(tmp_path: Path) -> None:
    with InProcessWorker(job(target="zsar_plugin_rogue:nothing"), tmp_path) as worker:
        with pytest.raises((RunFailed, UserError)) as caught:
            worker.ask({"comparison": {}})
        assert "nothing" in str(caught.value)
        assert worker.confinement.level == "process"
        assert worker.denied == {}


def test_random_numbers_are_as_they_were(tmp_path: Path) -> None:
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    expected = random.Random(1).random(), torch.rand(3, generator=torch.Generator().manual_seed(1))
    about = {"kind": "print", "target": "x:y", "params_target": "x:z", "params": {}}
    with InProcessWorker(job(**about), tmp_path) as worker, pytest.raises(RunFailed):
        worker.answer()
    assert random.random() == expected[0]
    assert torch.equal(torch.rand(3), expected[1])
