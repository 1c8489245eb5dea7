"""What faults do to the toy's store, caches and records: found, and mended or refused by name.

Most tests call what reads a file, without workers; the last ones run whole commands and compare
the bytes of the predictions.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kit import known_plugins
from kit.command import TOY_ENCODERS, Cli, see_plugins
from kit.made_features import arrays, protocol, write
from kit.toy_plans import plan_without_workers
from kit.wounds import FEW, WOUNDS
from zsar_bench.api import running
from zsar_bench.catalogue import catalogue
from zsar_bench.catalogue.machine import Machine
from zsar_bench.common.checksums import Damaged
from zsar_bench.data.clips.importer import ensure_generated
from zsar_bench.data.clips.store import Dataset, open_dataset, prepared
from zsar_bench.errors import UserError
from zsar_bench.features import seals
from zsar_bench.features.encoders import EncoderPlan
from zsar_bench.features.encoding import ensure
from zsar_bench.features.released.released import open_released
from zsar_bench.features.text_embeddings import read_text_features
from zsar_bench.plans.request import Request
from zsar_bench.plans.run_plan import RunPlan
from zsar_bench.records.files import load_records, read_predictions, read_record

pytestmark = pytest.mark.usefixtures("workers_here")  # nothing here is about processes

Wound = Callable[[Path, Path], None]
WANTS = ("tokens",)


def plan_of(results: Path, seed: int = 0) -> RunPlan:
    """``toy-ridge`` on ``toy-4-2``; one round is enough."""
    request = Request(
        methods=("toy-ridge",),
        protocol="toy-4-2",
        results=results,
        seeds=(seed,),
        skeleton_encoder=TOY_ENCODERS[1],
        text_encoder=TOY_ENCODERS[3],
    )
    return running.plan(request, catalogue=catalogue.load()).runs[0]


@pytest.fixture(scope="module")
def base(toy_store: Path, toy_site: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A store with everything in it: clips, encoders, tokens, texts; and two finished runs."""
    folder = tmp_path_factory.mktemp("sealed")
    home = shutil.copytree(toy_store, folder / "home")
    with pytest.MonkeyPatch.context() as patch:
        see_plugins(patch, home, toy_site)
        patch.chdir(folder)
        plan_without_workers(patch)
        runs = [plan_of(folder / "results", seed) for seed in (0, 1)]
        assert running.PlannedRuns(runs, catalogue.load(), 2).execute() == {}
        ensure(runs[0].encoders[0], WANTS, lambda event: None)
    return SimpleNamespace(home=home, results=folder / "results", runs=runs)


@pytest.fixture
def home(base: Any, toy_process: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, for this test to damage; ``results`` lies beside."""
    monkeypatch.setenv("ZSAR_BENCH_HOME", str(tmp_path / "home"))
    shutil.copytree(base.results, tmp_path / "results")
    return shutil.copytree(base.home, tmp_path / "home")


@pytest.fixture
def encoder(base: Any, home: Path) -> EncoderPlan:
    """The first run's encoder, looked for in the copy."""
    found: EncoderPlan = base.runs[0].encoders[0]
    assert found.folder.is_relative_to(home)
    return found


def some(folder: Path, pattern: str = "[!.s]*") -> tuple[Path, Path]:
    """Two files of one kind that differ."""
    first, *others = sorted(folder.glob(pattern))
    return first, next(p for p in others if p.read_bytes() != first.read_bytes())


def read_all(dataset: Dataset) -> None:
    dataset.read_clips(list(range(len(dataset))))


# --- Nothing is found where nothing is wrong -----------------------------------------------------


def test_what_was_not_touched_is_whole(base: Any, home: Path, encoder: EncoderPlan) -> None:
    for found in (
        encoder.ready(()),
        encoder.ready(WANTS),
        *(e.ready(()) for e in encoder_of(base)),
    ):
        assert found
    read_all(open_dataset("toy-motion"))
    assert set(read_text_features(base.runs[0].texts)) == {"pooled", "tokens", "mask"}
    index = encoder.round.test_unseen
    assert len(encoder.read(index, WANTS)["tokens"]) == len(index)
    assert all(
        Path(f).is_file()
        for row in encoder.fit_bundle(encoder.round.train, WANTS)
        for f in row["features"]
    )
    assert Path(encoder.encoder_job()["state"]).is_file()
    folders = [run.folder for run in base.runs]
    records, damaged = load_records(folders)
    assert (len(records), damaged) == (2, [])
    before = stamps(home)
    ensure(encoder, WANTS, refuse)
    assert stamps(home) == before


def encoder_of(base: Any) -> list[EncoderPlan]:
    return [encoder for run in base.runs for encoder in run.encoders]


def stamps(home: Path) -> dict[str, int]:
    files = [p for p in home.rglob("*") if p.is_file() and p.name != ".lock"]
    return {str(p): p.stat().st_mtime_ns for p in files}


def refuse(event: dict[str, Any]) -> None:
    raise AssertionError(f"nothing was to be done: {event}")


# --- Prepared clips ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["dataset.json", "seal.json", "shard"])
@pytest.mark.parametrize("wound", WOUNDS)
def test_a_wounded_store_is_refused_with_its_name(wound: str, name: str, home: Path) -> None:
    folder = home / "data" / "toy-motion"
    path, other = some(folder / "shards") if name == "shard" else some(folder, "*.json")
    if name == "seal.json":
        path, other = other, path
    WOUNDS[wound](path, other)
    with pytest.raises(Damaged) as caught:
        read_all(open_dataset("toy-motion"))
    guilty = {path, other} if wound == "swapped" else {path}
    assert any(f"{one} is damaged" in caught.value.what for one in guilty)
    assert caught.value.hint == "Type: zsar-bench data import toy-motion PATH --force"


def test_raw_clips_are_checked_before_a_worker_reads_them(home: Path, encoder: EncoderPlan) -> None:
    from dataclasses import replace

    plan = replace(encoder, dataset=open_dataset("toy-motion"))
    rows = plan.fit_bundle(plan.round.train, ("clips",))
    victim = Path(rows[0]["file"])
    WOUNDS["middle"](victim, victim)
    with pytest.raises(Damaged, match=victim.name):
        plan.fit_bundle(plan.round.train, ("clips",))
    assert [set(row) for row in plan.fit_bundle(plan.round.train, ())] == [
        {"features", "label", "subject", "lengths"} for _ in rows
    ]


def test_a_wounded_data_set_is_imported_again(cli: Cli, home: Path, toy_raw: Path) -> None:
    folder = home / "data" / "toy-motion"
    whole = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    shard, _ = some(folder / "shards")
    WOUNDS["middle"](shard, shard)
    told = cli("data", "verify", home=home, check=1)
    assert f"{shard.name} has changed" in told.stdout
    (folder / "dataset.json").unlink()
    assert prepared() == ["toy-motion"], "it is damaged, not missing: no stand-in takes its place"
    told = cli("data", "verify", home=home, check=1)
    assert "dataset.json is damaged, so the shards cannot be checked" in told.stdout
    told = cli("data", "import", "toy-motion", toy_raw, home=home, check=2)
    assert "data import toy-motion PATH --force" in told.stderr
    cli("data", "import", "toy-motion", toy_raw, "--force", "--quiet", home=home)
    assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == whole


@pytest.mark.parametrize(
    "wound", [w if w in ("middle",) else pytest.param(w, marks=pytest.mark.slow) for w in WOUNDS]
)
def test_a_wounded_generated_set_is_made_again(wound: str, home: Path) -> None:
    entry = catalogue.load().find("datasets", "toy-stand-in")

    def make(on_event: Any = lambda event: None) -> Dataset:
        return ensure_generated(entry, {}, Machine("cpu", 1, code=catalogue.load().code), on_event)

    folder = make().folder
    whole = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    make(refuse)
    for path, other in (some(folder / "shards"), some(folder, "*.json")):
        WOUNDS[wound](path, other)
        read_all(make())
        assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == whole


# --- Encoders and their features -----------------------------------------------------------------

ENCODER_FILES = ("state.safetensors", "encoder.json", "seal.json", "pooled", "tokens")


@pytest.mark.parametrize("name", [*ENCODER_FILES, "pooled/seal.json", "tokens/seal.json"])
@pytest.mark.parametrize("wound", WOUNDS)
def test_a_wounded_encoder_or_feature_is_found_said_and_dropped(
    wound: str, name: str, base: Any, encoder: EncoderPlan
) -> None:
    folder, other_folder = encoder.folder, base.runs[1].encoders[0].folder
    part = name.partition("/")[0] if "/" in name or "." not in name else ""
    path, other = folder / name, other_folder / name
    if "." not in name:
        path, other = some(folder / name, "*.safetensors")
    if name == "tokens/seal.json":
        other = shutil.copy(folder / "pooled" / "seal.json", folder / ".other")
    WOUNDS[wound](path, other)
    assert not encoder.ready(WANTS)
    assert encoder.ready(()) == (part == "tokens")
    one = encoder.round
    index = [*one.train, *one.test_unseen, *one.test_seen]
    readers = {
        "state.safetensors": [encoder.encoder_job],
        "encoder.json": [lambda: encoder.about, encoder.record_round],
        "seal.json": [encoder.encoder_job, lambda: encoder.about],
    }.get(name, [lambda: encoder.read(index, WANTS)])
    for read in readers:
        with pytest.raises(Damaged, match="is damaged") as caught:
            read()
        assert path.name in caught.value.what or wound == "swapped"
        assert "same command again" in caught.value.hint
    events: list[dict[str, Any]] = []
    seals.tend(folder, encoder.parts(WANTS), events.append)
    (event,) = events
    assert event["stage"] == "encoder"
    assert str(folder) in event["note"]
    gone = {part} if part else {"", "pooled", "tokens"}
    assert {p for p in ("", "pooled", "tokens") if not (folder / p).is_dir()} == gone
    assert not list(folder.parent.glob(".*.gone"))


def test_features_of_a_fit_are_checked_before_it_starts(encoder: EncoderPlan) -> None:
    (file,) = encoder.fit_bundle(encoder.round.train, ())[3]["features"]
    whole = Path(file).read_bytes()
    for name in ("first bit", "last bit", "cut by one", "deleted"):
        WOUNDS[name](Path(file), Path(file))
        with pytest.raises(Damaged, match=Path(file).name):
            encoder.fit_bundle(encoder.round.train, ())
        Path(file).write_bytes(whole)
    assert encoder.fit_bundle(encoder.round.train, ())


@pytest.mark.parametrize("part", ["", *WANTS])
def test_a_cache_without_a_seal_is_made_again(part: str, encoder: EncoderPlan) -> None:
    (encoder.folder / part / "seal.json").unlink()
    assert not encoder.ready(WANTS)
    said: list[Any] = []
    seals.tend(encoder.folder, encoder.parts(WANTS), said.append)
    assert not (encoder.folder / part).exists()
    assert "seal.json is damaged; it is made again." in said[0]["note"]


def test_a_cache_without_its_state_is_none(encoder: EncoderPlan) -> None:
    for name in ("seal.json", "state.safetensors"):
        (encoder.folder / name).unlink()
    seals.tend(encoder.folder, encoder.parts(()), lambda event: None)
    assert not encoder.folder.exists()


# --- Released features ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["features.json", "seal.json", "train/3", "ztest/2"])
@pytest.mark.parametrize("wound", WOUNDS)
def test_wounded_copies_of_released_features_are_copied_again(
    wound: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZSAR_BENCH_HOME", str(tmp_path / "home"))
    (one,) = open_released(write(tmp_path / "f", arrays()), protocol()).sources
    ensure(one, (), lambda event: None)
    ensure(one, (), refuse)
    whole = {p: p.read_bytes() for p in one.folder.rglob("*") if p.is_file()}
    path = one.folder / (f"{name}.safetensors" if "/" in name else name)
    others = {"train/3": "train/4", "ztest/2": "ztest/1"}
    other = one.folder / (f"{others[name]}.safetensors" if "/" in name else "features.json")
    if name == "features.json":
        other = one.folder / "seal.json"
    WOUNDS[wound](path, other)
    if "/" in name:
        read = {
            "train": lambda w: one.fit_bundle(one.round.train, w),
            "ztest": lambda w: one.read(one.round.test_unseen, w),
        }
        with pytest.raises(Damaged, match="is damaged"):
            read[name.partition("/")[0]](())
    assert not one.ready(())
    ensure(one, (), lambda event: None)
    assert {p: p.read_bytes() for p in one.folder.rglob("*") if p.is_file()} == whole
    assert [p.name for p in one.folder.parent.iterdir()] == [one.folder.name]


# --- Texts and the catalogue ---------------------------------------------------------------------


@pytest.mark.parametrize("wound", WOUNDS)
def test_wounded_text_features_are_not_read(wound: str, base: Any, home: Path) -> None:
    texts = base.runs[0].texts
    other = texts.file.with_name("other.sealed")
    other.write_bytes(texts.file.read_bytes()[:-1] + b"!")
    WOUNDS[wound](texts.file, other)
    with pytest.raises(Damaged, match=texts.file.name) as caught:
        read_text_features(texts)
    assert "same command again" in caught.value.hint


@pytest.mark.parametrize("wound", WOUNDS)
def test_a_wounded_catalogue_is_asked_for_again(
    wound: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = catalogue.load().data
    asked: list[int] = []
    known = known_plugins.answers()
    monkeypatch.setattr(catalogue, "_query", lambda *what: asked.append(1) or known(*what))
    assert catalogue.load().data == whole
    assert not asked
    for path in list((home / "catalogue").iterdir()):
        other = path.with_name("other.sealed")
        other.write_bytes(b"something else")
        WOUNDS[wound](path, other)
    for _ in range(2):
        assert catalogue.load().data == whole
    assert len(asked) == 1


# --- Records -------------------------------------------------------------------------------------

RUN_FILES = ("run.json", "predictions.safetensors", "events.jsonl", "seal.json")


@pytest.fixture
def runs(base: Any, home: Path) -> list[Path]:
    """Copies of the folders of both runs."""
    results = home.parent / "results"
    return [results / run.folder.relative_to(base.results) for run in base.runs]


@pytest.mark.parametrize("name", RUN_FILES)
@pytest.mark.parametrize("wound", WOUNDS)
def test_a_wounded_record_is_refused_with_its_name(wound: str, name: str, runs: list[Path]) -> None:
    if (wound, name) == ("deleted", "seal.json"):
        return  # looks like the first runs; two tests below
    WOUNDS[wound](runs[0] / name, runs[1] / name)
    wounded = runs if wound == "swapped" else runs[:1]
    for folder in wounded:
        with pytest.raises(Damaged) as caught:
            read_record(folder)
        named = "" if (wound, name) == ("swapped", "seal.json") else name
        assert caught.value.what.startswith(f"{folder / named}")
        assert "delete the folder" in caught.value.hint
        with pytest.raises(UserError, match="damaged"):
            read_predictions(folder / "predictions.safetensors")
    records, damaged = load_records(runs)
    assert (len(records), len(damaged)) == (2 - len(wounded), len(wounded))


def test_what_somebody_puts_beside_a_record_is_let_be(runs: list[Path]) -> None:
    (runs[0] / "notes.txt").write_text("mine")
    assert read_record(runs[0]).run_id == runs[0].name
    read_predictions(runs[0] / "predictions.safetensors")


def test_a_run_without_a_seal_is_refused(runs: list[Path]) -> None:
    folder, path = runs[0], runs[0] / "predictions.safetensors"
    (folder / "seal.json").unlink()
    for read in (lambda: read_record(folder), lambda: read_predictions(path)):
        with pytest.raises(UserError, match=r"seal\.json is damaged: it is missing"):
            read()
    records, told = load_records(runs)
    assert len(records) == len(runs) - 1
    assert len(told) == 1
    assert "seal.json is damaged: it is missing" in told[0]


def test_a_wounded_record_is_named_by_the_command_that_made_it(
    cli: Cli, home: Path, runs: list[Path]
) -> None:
    WOUNDS["middle"](runs[0] / "predictions.safetensors", runs[0])
    told = cli("compare", "--results", home.parent / "results", home=home, check=None)
    assert f"{runs[0]}/predictions.safetensors is damaged" in told.stdout + told.stderr


# --- Whole commands: mended, and the same bytes --------------------------------------------------

KINDS: dict[str, Callable[[EncoderPlan], tuple[Path, Path]]] = {
    "state": lambda e: (e.folder / "state.safetensors", e.folder / "encoder.json"),
    "about": lambda e: (e.folder / "encoder.json", e.folder / "state.safetensors"),
    "seal": lambda e: (e.folder / "seal.json", e.folder / "encoder.json"),
    "pooled": lambda e: some(e.folder / "pooled", "*.safetensors"),
    "texts": lambda e: some(e.folder.parents[1] / "texts", "*"),
    "catalogue": lambda e: some(e.folder.parents[1] / "catalogue", "*"),
}


def again(cli: Cli, home: Path, base: Any) -> str:
    """The first run once more with an empty results folder; its bytes must be the same."""
    results = home.parent / "again"
    done = cli.run("toy-ridge", "--results", results, home=home)
    one = results / base.runs[0].folder.relative_to(base.results)
    name = "predictions.safetensors"
    assert (one / name).read_bytes() == (base.runs[0].folder / name).read_bytes()
    shutil.rmtree(results)
    return done.stderr


def test_everything_wounded_at_once_is_mended_by_the_next_run(
    cli: Cli, base: Any, home: Path, encoder: EncoderPlan
) -> None:
    def features() -> dict[Path, bytes]:
        """All that is kept but what tells how it was made: which clips are asked again is drawn."""
        files = (p for p in encoder.folder.rglob("*") if p.is_file())
        return {p: p.read_bytes() for p in files if p.name not in ("encoded.json", "seal.json")}

    whole = features()
    texts = base.runs[0].texts.file
    kept = texts.read_bytes()
    feature, _ = some(encoder.folder / "pooled", "*.safetensors")
    for path in (feature, texts, *(home / "catalogue").iterdir()):
        WOUNDS["middle"](path, path)
    said = again(cli, home, base)
    assert f"{feature} is damaged; it is made again." in said
    assert f"{texts} is damaged; it is made again." in said
    assert texts.read_bytes() == kept
    assert features() == whole
    before = stamps(home)
    assert "damaged" not in again(cli, home, base)
    assert stamps(home) == before


@pytest.mark.slow
@pytest.mark.parametrize("wound", [*FEW, "header"])
@pytest.mark.parametrize("kind", KINDS)
def test_any_wound_of_any_cache_is_mended_by_the_next_run(
    wound: str, kind: str, cli: Cli, base: Any, home: Path, encoder: EncoderPlan
) -> None:
    if kind in ("texts", "catalogue"):
        for path in list((home / kind).iterdir()):
            path.with_name(f"z{path.name}").write_bytes(path.read_bytes()[:-1])
    path, other = KINDS[kind](encoder)
    WOUNDS[wound](path, other)
    if (kind, wound) != ("seal", "deleted"):
        assert not encoder.ready(()) or kind in ("texts", "catalogue")
    again(cli, home, base)
    assert encoder.ready(())
