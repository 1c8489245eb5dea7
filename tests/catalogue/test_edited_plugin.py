"""An installed plugin is edited: which edits make another run, seen from the command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from kit.command import Cli


@pytest.fixture
def own(toy_home: Path, toy_site: Path, tmp_path: Path) -> Cli:
    """The command line with an installation of zsar-toy that a test may edit."""
    site = shutil.copytree(toy_site, tmp_path / "site", symlinks=True)
    return Cli(toy_home, site, tmp_path, real=False)


def edit(cli: Cli, module: str, old: str, new: str) -> None:
    path = cli.site / "zsar_toy" / module
    text = path.read_text("utf-8")
    assert text.count(old) == 1, f"{old!r} in {module}"
    path.write_text(text.replace(old, new), "utf-8")


def planned(cli: Cli) -> tuple[str, str]:
    """Run id and state of ``toy-ridge``."""
    (row,) = json.loads(cli.run("toy-ridge", "--dry-run", "--json").stdout)["runs"]
    return row["run"], row["state"]


def test_a_comment_is_skipped_and_a_constant_is_run(own: Cli, tmp_path: Path) -> None:
    heard = tmp_path / "events"
    env = {"ZSAR_BENCH_TOY_EVENTS": str(heard)}

    def run() -> tuple[str, bool]:
        """Id of the run, and whether anything had to be done for it."""
        heard.unlink(missing_ok=True)
        (row,) = json.loads(own.run("toy-ridge", "--json", env=env).stdout)["runs"]
        assert row["status"] == "done"
        return row["run"], heard.exists()

    first, started = run()
    assert started
    predictions = next(own.cwd.rglob(f"{first}/predictions.safetensors"))
    before = predictions.read_bytes()

    edit(own, "methods.py", "start = 0\n", "start = 0  # of the fit\n")
    edit(own, "methods.py", '"""Minibatch gradient descent;', '"""Gradient descent by batches;')
    edit(
        own,
        "methods.py",
        "self.mean, self.spread = x.mean(dim=0)",
        "self.mean, self.spread = (x.mean(dim=0)",
    )
    edit(own, "methods.py", "x.std(dim=0).clamp_min(1e-3)", "x.std(dim=0).clamp_min(\n 0.001))")
    assert run() == (first, False)

    edit(own, "methods.py", "clamp_min(\n 0.001)", "clamp_min(\n 0.5)")
    second, started = run()
    assert (second != first, started) == (True, True)
    assert next(own.cwd.rglob(f"{second}/predictions.safetensors")).read_bytes() != before
    assert predictions.read_bytes() == before  # the older run is still there

    edit(own, "methods.py", "clamp_min(\n 0.5)", "clamp_min(1e-3)")
    assert planned(own) == (first, "cached")


def test_the_place_of_an_installation_does_not_matter(own: Cli, cli: Cli) -> None:
    assert own.site != cli.site
    assert planned(own)[0] == planned(cli)[0]


@pytest.mark.slow
def test_encoders_and_what_modules_import_count_too(own: Cli) -> None:
    runs = [planned(own)[0]]
    edit(own, "encoders.py", "clamp_min(1e-3)", "clamp_min(2e-3)")
    runs.append(planned(own)[0])
    edit(own, "methods.py", "import torch\n", "import torch\n\nfrom zsar_toy.more import EXTRA\n")
    (own.site / "zsar_toy" / "more.py").write_text("EXTRA = 1\n")
    runs.append(planned(own)[0])
    (own.site / "zsar_toy" / "more.py").write_text("EXTRA = 2\n")
    runs.append(planned(own)[0])
    assert len(set(runs)) == 4
    (own.site / "zsar_toy" / "more.py").write_text("# Nothing new.\nEXTRA = 2\n")
    (own.site / "zsar_toy" / "alone.py").write_text("EXTRA = 3\n")  # nobody's import
    assert planned(own)[0] == runs[-1]
