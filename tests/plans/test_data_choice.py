"""Real clips or synthetic ones: what is taken, what is said, and what is never mixed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from zsar_bench.catalogue.catalogue import Catalogue, load
from zsar_bench.errors import UserError
from zsar_bench.plans.choose_data import choose_data

pytestmark = pytest.mark.usefixtures("workers_here")  # nothing here is about processes

ENCODERS = ("--skeleton-encoder", "toy-mean", "--text-encoder", "toy-hash")


@pytest.fixture
def empty_home(tmp_path: Path) -> Path:
    """A store in which nothing is imported."""
    return tmp_path / "empty-home"


@pytest.fixture
def catalogue(toy_process: Path) -> Catalogue:
    return load()


@pytest.fixture
def bare(catalogue: Catalogue, empty_home: Path, monkeypatch: pytest.MonkeyPatch) -> Catalogue:
    """The catalogue on a machine without data."""
    monkeypatch.setenv("ZSAR_BENCH_HOME", str(empty_home))
    return catalogue


# --- The choice ----------------------------------------------------------------------------------


def test_imported_data_are_taken(catalogue: Catalogue) -> None:
    for wanted, reason in (("auto", "imported"), ("real", "named")):
        one = choose_data("toy-4-2", wanted, catalogue)
        assert (one.protocol.id, one.entry.name, one.synthetic) == ("toy-4-2", "toy-motion", False)
        assert (one.reason, one.missing) == (reason, None)


@pytest.mark.parametrize(
    ("name", "wanted"), [("toy-4-2", "stand-in"), ("stand-in/toy-4-2", "auto")]
)
def test_a_named_stand_in_is_taken_though_the_data_are_there(
    catalogue: Catalogue, name: str, wanted: str
) -> None:
    one = choose_data(name, wanted, catalogue)
    assert (one.protocol.id, one.entry.name) == ("stand-in/toy-4-2", "toy-stand-in")
    assert one.synthetic
    assert one.reason == "named"


def test_without_data_the_stand_in_runs_and_says_what_is_missing(bare: Catalogue) -> None:
    one = choose_data("toy-4-2", "auto", bare)
    assert (one.protocol.id, one.reason) == ("stand-in/toy-4-2", "toy-motion is not imported")
    assert one.missing is not None
    assert one.missing.name == "toy-motion"


def test_real_data_that_are_not_there_are_never_replaced(bare: Catalogue) -> None:
    one = choose_data("toy-4-2", "real", bare)
    assert (one.protocol.id, one.synthetic) == ("toy-4-2", False)  # opening it says what to do
    with pytest.raises(UserError, match="--data real excludes them"):
        choose_data("stand-in/toy-4-2", "real", bare)


def test_without_a_stand_in_there_is_none(bare: Catalogue) -> None:
    assert not choose_data("purls-utd-mhad-22-5", "auto", bare).synthetic
    for name, wanted in (
        ("purls-utd-mhad-22-5", "stand-in"),
        ("stand-in/purls-utd-mhad-22-5", "auto"),
    ):
        with pytest.raises(UserError) as caught:
            choose_data(name, wanted, bare)
        assert caught.value.what == "There is no stand-in for the data set 'utd-mhad'."
        assert "toy-motion" in caught.value.hint


def test_a_data_set_that_cannot_be_read_yet_runs_on_its_stand_in(bare: Catalogue) -> None:
    del bare.data["datasets"]["toy-motion"]
    one = choose_data("toy-4-2", "auto", bare)
    assert (one.synthetic, one.missing) == (True, None)
    with pytest.raises(UserError) as caught:
        choose_data("toy-4-2", "real", bare)
    assert "cannot read the files of the data set 'toy-motion' yet" in caught.value.what
    assert "--protocol stand-in/toy-4-2" in caught.value.hint


def test_wrong_words_are_refused(catalogue: Catalogue) -> None:
    with pytest.raises(UserError) as caught:
        choose_data("toy-4-2", "standin", catalogue)
    assert "Did you mean stand-in" in caught.value.hint
    with pytest.raises(UserError, match="Unknown protocol 'toy-42'"):
        choose_data("stand-in/toy-42", "auto", catalogue)


# --- On the command line -------------------------------------------------------------------------


def test_the_newcomers_run(cli, empty_home: Path) -> None:
    words = ("run", "toy-ridge", "--protocol", "toy-4-2", *ENCODERS)
    done = cli(*words, home=empty_home)
    panel, table = done.stderr, done.stdout
    for said in (
        "Synthetic stand-in",
        "Toy Motion (toy-motion) is not imported on this machine",
        "stand-in/toy-4-2",
        "SYNTHETIC",
        "zsar_toy.make FOLDER",
        "zsar-bench data import toy-motion PATH",
    ):
        assert said in " ".join(panel.replace("│", " ").split()), panel
    assert "stand-in/toy-4-2 - SYNTHETIC" in table
    assert "made by zsar-bench in the place of toy-motion" in " ".join(table.split())
    (record,) = (cli.cwd / "results" / "runs" / "stand-in+toy-4-2").glob("*/*/run.json")
    about = json.loads(record.read_text("utf-8"))
    assert about["protocol"]["id"] == "stand-in/toy-4-2"
    assert about["protocol"]["dataset"] == "toy-stand-in"
    assert about["protocol"]["stand_in_for"] == "toy-motion"
    assert about["protocol"]["expected_clips"] == about["metrics"]["clips"] == 32
    assert {"what": "data", "value": "toy-stand-in", "reason": "toy-motion is not imported"} in (
        about["choices"]
    )

    again = cli(*words, home=empty_home)
    assert "done:" not in again.stderr, "nothing ran again"
    for format in ("table", "markdown", "json"):
        said = cli("compare", "--format", format, home=empty_home).stdout
        assert "synthetic" in said.lower()


def test_real_and_synthetic_rows_are_apart(cli, empty_home: Path) -> None:
    cli.run("toy-ridge")
    cli.run("toy-ridge", "--data", "stand-in")
    said = json.loads(cli("compare", "--protocol", "toy-4-2", "--json").stdout)
    assert [(s["protocol"], s["synthetic"]) for s in said["sections"]] == [
        ("stand-in/toy-4-2", True),
        ("toy-4-2", False),
    ]
    assert [len(s["rows"]) for s in said["sections"]] == [1, 1]
    only = json.loads(cli("compare", "--protocol", "stand-in/toy-4-2", "--json").stdout)
    assert [s["protocol"] for s in only["sections"]] == ["stand-in/toy-4-2"]


def test_data_real_refuses(cli, empty_home: Path) -> None:
    words = ("run", "toy-ridge", "--protocol", "toy-4-2", *ENCODERS, "--data", "real")
    done = cli(*words, home=empty_home, check=2)
    assert "has not been imported" in done.stderr
    assert "zsar-bench data import toy-motion PATH" in done.stderr
    assert not (empty_home / "data" / "toy-stand-in").exists()


def test_a_dry_run_makes_nothing(cli, empty_home: Path) -> None:
    words = ("run", "toy-ridge", "--protocol", "toy-4-2", *ENCODERS, "--dry-run")
    done = cli(*words, home=empty_home)
    assert "zsar-bench data import toy-stand-in" in done.stdout
    answer = json.loads(cli(*words, "--json", home=empty_home).stdout)
    assert answer == {"runs": [], "tasks": [], "first": "zsar-bench data import toy-stand-in"}
    assert not (empty_home / "data").exists()
    cli("data", "import", "toy-stand-in", "--quiet", home=empty_home)
    assert "Estimated time" in cli(*words, home=empty_home).stdout


def test_random_splits_in_one_command(cli) -> None:
    cli.run("toy-ridge", "--splits", "3")
    said = json.loads(cli("compare", "--protocol", "toy-4-2", "--json").stdout)
    (together,) = said["splits"]
    assert together["splits"] == [f"toy-4-2/random:2@{n}" for n in range(3)]
    assert (together["family"], together["rows"][0]["splits"]) == ("toy-4-2", 3)
    alone = json.loads(cli("compare", "--protocol", "toy-4-2/random:2@1", "--json").stdout)
    assert [s["protocol"] for s in alone["sections"]] == ["toy-4-2/random:2@1"]
