"""Published numbers: files that are fine or refused, the rows that ship, how they are listed."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from kit.paths import ROOT
from zsar_bench.catalogue.catalogue import load
from zsar_bench.comparison.published import FLAGS, choose, headlines, read_published
from zsar_bench.data.protocols.lookup import find_id, load_all
from zsar_bench.errors import UserError

FACTS = ROOT.parent / "shared" / "facts" / "published_results.json"
facts_here = pytest.mark.skipif(not FACTS.is_file(), reason="the shared facts are not here")
METRICS = ("seen_acc", "unseen_acc", "harmonic_mean")
ROW: dict[str, Any] = {
    "method": "THEIRS",
    "year": 2024,
    "venue": "CVPR",
    "protocol": "p",
    "value": 57.5,
    "skeleton_encoder": "net",
    "text_encoder": "tower",
    "source": "paper",
}


@cache
def rows() -> list[dict[str, Any]]:
    return read_published([ROOT / "results" / "published"])


@cache
def facts() -> list[dict[str, Any]]:
    return json.loads(FACTS.read_text("utf-8"))["rows"]


def key(row: dict[str, Any]) -> tuple[Any, ...]:
    told = (row["method"], row["year"], row["setting"], row["metric"], row["value"])
    return (*told, row["own_table"], bool(row.get("variant")))


@cache
def our_protocol(name: str) -> str:
    """Our id for one of the facts: by alias; the two that are known as orphans have none."""
    return "" if name.startswith("starsmie-") else find_id(name, load())


# --- The rows that ship ----------------------------------------------------------------------


def test_there_are_506_rows_and_every_protocol_is_one_of_ours() -> None:
    assert len(rows()) == 506
    protocols, groups = load_all(load())
    ids = {p.id for p in protocols} | {g.id for g in groups}
    assert {row["protocol"] for row in rows()} - ids == {""}
    orphans = [row for row in rows() if not row["protocol"]]
    assert [(o["method"], o["value"]) for o in orphans] == [("STAR", 77.5), ("STAR", 70.6)]
    names = ("starsmie-ntu60-55-5-avg3", "starsmie-pku-46-5-avg3")
    for orphan, name in zip(orphans, names, strict=True):
        assert any(name in remark for remark in orphan["remarks"])


def test_every_row_says_what_it_is() -> None:
    for row in rows():
        assert 0 < row["value"] < 100
        assert row["setting"] == ("ZSL" if row["metric"] == "top1" else "GZSL")
        assert row["metric"] in ("top1", *METRICS)
        assert row["recovery"] in ("table", "plot", "note", "listing", "log", "derived")
        assert row["reported_by"]
        assert len({*row["flags"]}) == len(row["flags"])
        assert len({*row["remarks"]}) == len(row["remarks"])
    assert {flag for row in rows() for flag in row["flags"]} == set(FLAGS), "no flag without a row"


def triples() -> Iterator[tuple[list[dict[str, Any]], dict[str, float]]]:
    """Rows that belong together, and their values by metric, where all three are printed."""
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = defaultdict(list)
    for row in rows():
        if row["setting"] == "GZSL":
            name = [row[k] for k in ("method", "protocol", "source")]
            groups[*name, row.get("variant", "")].append(row)
    for group in groups.values():
        values = {row["metric"]: row["value"] for row in group}
        assert len(values) == len(group), group[0]
        if set(values) == set(METRICS):
            yield group, values


def test_harmonic_means_are_those_of_the_printed_parts() -> None:
    """To what rounding allows: H rises with S and U, so its bounds are those of theirs."""
    checked = 0
    for group, values in triples():
        places = max(len(str(v).partition(".")[2]) for v in values.values())
        half = 0.5 * 10**-places + 1e-9
        s, u, h = (values[m] for m in METRICS)
        low, high = (2 * (s + d) * (u + d) / (s + u + 2 * d) for d in (-half, half))
        holds = low - half <= h <= high + half
        flagged = ["inconsistent" in row["flags"] for row in group]
        assert flagged == [not holds] * 3, (group[0]["method"], group[0]["protocol"], s, u, h)
        checked += 1
    assert checked == 46
    wrong = {(r["method"], r["protocol"]) for r in rows() if "inconsistent" in r["flags"]}
    assert wrong == {("ReViSE", "synse-55-5"), ("CADA-VAE", "synse-110-10")}


def test_flags_are_where_the_practice_is() -> None:
    by_flag: dict[str, set[str]] = defaultdict(set)
    for row in rows():
        for flag in row["flags"]:
            by_flag[flag].add(row["method"])
    assert by_flag["either-branch"] == {"Neuron"}
    assert by_flag["either-branch-possible"] == {"SkeletonContext"}
    assert by_flag["transductive"] == {"PGFA", "Skeleton-Cache"}
    assert by_flag["class-transductive"] == {"STAR", "Flora"}
    assert by_flag["label-leak-possible"] == {"PURLS"}
    assert by_flag["not-skeleton-only"] == {"PoseBridge"}
    assert {"TDSM", "SMIE", "SA-DVAE", "FS-VAE", "Flora"} <= by_flag["test-selection"]
    assert not {"PURLS", "SkeletonLLM"} & by_flag["test-selection"]
    for row in rows():
        for flag in ("inconsistent", "disputed", "transductive", "either-branch", "multimodal"):
            assert flag not in row["flags"] or row["remarks"], "a flag is explained"


@facts_here
def test_rows_are_the_facts() -> None:
    ours = Counter((row["protocol"], *key(row)) for row in rows())
    theirs = Counter((our_protocol(row["protocol"]), *key(row)) for row in facts())
    assert ours == theirs


@facts_here
def test_what_the_facts_doubt_is_flagged() -> None:
    flags = {(row["protocol"], *key(row)): {*row["flags"]} for row in rows()}
    for row in facts():
        found = flags[(our_protocol(row["protocol"]), *key(row))]
        if "conflict" in row:
            assert found & {"disputed", "inconsistent"}, row
        note = row.get("note", "")
        for word, flag in (
            ("either of the two branches", "either-branch"),
            ("may inherit the either-branch", "either-branch-possible"),
            ("transductive", "transductive"),
            ("test-time adaptation", "transductive"),
            ("on RGB", "not-skeleton-only"),
            ("mixes three families", "mixed-splits"),
        ):
            assert word not in note or flag in found, row
        if "ablation" in row.get("variant", ""):
            assert "ablation" in found
        doubtful = {"read off": "approximate", "second": "second-hand", "derived": "derived"}
        for word, flag in doubtful.items():
            assert row["recovery"].startswith(word) <= (flag in found), row


@facts_here
def test_no_sentence_is_copied() -> None:
    told = {row[k] for row in facts() for k in ("note", "conflict", "recovery") if k in row}
    assert not told & {remark for row in rows() for remark in row["remarks"]}


# --- Files -----------------------------------------------------------------------------------


FAULTS: dict[str, Any] = {
    "a list": [ROW],
    "no rows": {"row": [ROW]},
    "rows of text": {"rows": ["row"]},
    "rows are a number": {"rows": 3},
    "no method": {"rows": [{k: v for k, v in ROW.items() if k != "method"}]},
    "a method by number": {"rows": [ROW | {"method": 7}]},
    "no protocol": {"rows": [ROW | {"protocol": None}]},
    "a value as text": {"rows": [ROW, ROW | {"value": "57.5"}]},
    "a value that is true": {"rows": [ROW | {"value": True}]},
    "a year as text": {"rows": [ROW | {"year": "2024"}]},
    "remarks as text": {"rows": [ROW | {"remarks": "Doubtful."}]},
    "numbers as remarks": {"rows": [ROW | {"remarks": [1]}]},
    "an unknown flag": {"rows": [ROW | {"flags": ["doubtful"]}]},
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faulty_files_are_named(fault: str, tmp_path: Path) -> None:
    (tmp_path / "good.json").write_text(json.dumps({"rows": [ROW]}))
    assert read_published([tmp_path]) == [ROW]
    (tmp_path / "bad.json").write_text(json.dumps(FAULTS[fault]))
    with pytest.raises(UserError) as caught:
        read_published([tmp_path])
    assert "bad.json are damaged" in caught.value.what
    assert "\n" not in caught.value.what


# --- Choosing --------------------------------------------------------------------------------


def test_headlines_leave_out_what_is_no_result_of_the_method() -> None:
    kept = [ROW, ROW | {"metric": "top1", "flags": ["re-run"]}]
    left = [ROW | {"metric": "harmonic_mean"}, ROW | {"flags": ["ablation"]}]
    left.append(ROW | {"flags": ["disputed", "subset"]})
    assert headlines([*left, *kept]) == kept


def test_rows_are_chosen_by_protocol_and_method() -> None:
    some = [ROW, ROW | {"protocol": "q"}, ROW | {"method": "Ours", "protocol": "q"}]
    assert choose(some) == some
    assert choose(some, "q") == some[1:]
    assert choose(some, method="theirs") == some[:2]
    assert choose(some, "q", "OURS") == some[2:]
    assert choose(some, "p", "ours") == []
    with pytest.raises(UserError, match="published method 'hours'") as caught:
        choose(some, method="hours")
    assert "Ours" in caught.value.hint


def test_list_published(cli: Any) -> None:
    alias = ("--protocol", "synse-ntu60-55-5")
    found = json.loads(cli("list", "published", *alias, "--method", "tdsm", "--json").stdout)
    wanted = [r for r in rows() if (r["method"], r["protocol"]) == ("TDSM", "synse-55-5")]
    assert found == wanted
    assert len(json.loads(cli("list", "published", "--json").stdout)) == 506
    mean = cli("list", "published", "--protocol", "smie-pku-46-5-avg3").stdout
    assert "60.83" in mean
    assert "86.49" not in mean
    assert cli("list", "published", *alias, "--method", "DVTA").stdout == "None.\n"
    said = cli("list", "published", "--method", "TDSN", check=2).stderr
    assert "Did you mean TDSM" in said
    assert (
        "Unknown protocol 'synse-55'"
        in cli("list", "published", "--protocol", "synse-55", check=2).stderr
    )
    assert "choose among published" in cli("list", "methods", "--method", "tdsm", check=2).stderr


def test_a_protocol_shows_its_published_numbers(cli: Any) -> None:
    count = sum(row["protocol"] == "synse-55-5" for row in rows())
    assert f"published numbers: {count}; see" in cli("show", "synse-55-5").stdout
    shown = json.loads(cli("show", "synse-55-5", "--json").stdout)
    assert shown["published"] == count
    assert shown["pseudo_unseen"] == ["A17", "A22", "A26", "A32", "A49"]
    mean = json.loads(cli("show", "smie-ntu60-55-5-avg3", "--json").stdout)
    assert mean["id"] == "smie-55-5-avg"
    assert mean["of"] == [f"smie-55-5-split{n}" for n in (1, 2, 3)]
    assert mean["published"] == sum(row["protocol"] == "smie-55-5-avg" for row in rows()) > 0
    assert "the mean of: smie-55-5-split1" in cli("show", "smie-55-5-avg").stdout
    listed = {r["name"]: r for r in json.loads(cli("list", "protocols", "--json").stdout)}
    assert listed["smie-55-5-avg"]["average_of"] == mean["of"]
    assert (listed["smie-55-5-avg"]["dataset"], listed["smie-55-5-avg"]["unseen"]) == ("ntu-60", 5)
