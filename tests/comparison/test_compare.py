"""Comparisons of stored runs: numbers against scipy and slow loops, and what reporters draw."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from kit.made_records import BEST, CLOSE, FAR, SUBJECTS, Clips, clips, exactly, record, store
from zsar_bench.cli import main
from zsar_bench.comparison.published import read_published
from zsar_bench.comparison.sections import compare
from zsar_bench.errors import UserError
from zsar_bench.records.files import find_records, load_records, read_record
from zsar_bench.reporters import json as json_reporter
from zsar_bench.reporters import markdown, table, words

ESCAPE = "\x1b"


def only_row(records: list[Any]) -> dict[str, Any]:
    sections = compare(records)["sections"]
    assert len(sections) == 1
    assert len(sections[0]["rows"]) == 1
    row: dict[str, Any] = sections[0]["rows"][0]
    return row


# --- Numbers -----------------------------------------------------------------------------------

#: (encoder seed, method seed) -> what was right; one encoder has more method seeds.
CROSSED = {
    (e, m): clips(10 * e + m, (0.2, 0.9, 0.4)[e]) for e in (0, 1, 2) for m in range(2 + (e == 1))
}


def over_encoders(values: dict[tuple[int, int], float]) -> list[float]:
    """Mean over method seeds, for every encoder."""
    means = []
    for encoder in sorted({e for e, _ in values}):
        own = [v for (e, _), v in values.items() if e == encoder]
        means.append(sum(own) / len(own))
    return means


@pytest.mark.parametrize("kind", ["top1", "mean_class"])
def test_accuracies_are_averaged_inside_encoders_first(kind: str) -> None:
    row = only_row([record(c, seeds=s) for s, c in CROSSED.items()])
    means = over_encoders({s: getattr(c, kind)() for s, c in CROSSED.items()})
    assert row[kind] == pytest.approx(sum(means) / 3, abs=1e-12)
    plain = np.mean([getattr(c, kind)() for c in CROSSED.values()])
    assert abs(row[kind] - plain) > 1e-4  # the test can tell the two apart
    assert row["seeds"] == 7
    assert row["encoder_seeds"] == [0, 1, 2]


def test_both_spreads_against_numpy() -> None:
    row = only_row([record(c, seeds=s) for s, c in CROSSED.items()])
    values = {s: c.top1() for s, c in CROSSED.items()}
    assert row["sd_encoder"] == pytest.approx(np.std(over_encoders(values), ddof=1))
    squares = []
    for encoder in (0, 1, 2):
        own = [v for (e, _), v in values.items() if e == encoder]
        squares += [(v - np.mean(own)) ** 2 for v in own]
    assert row["sd_method"] == pytest.approx(np.sqrt(sum(squares) / (7 - 3)))
    assert not row["spread_excludes_encoder"]


def test_a_held_encoder_has_no_encoder_spread() -> None:
    row = only_row([record(clips(m), seeds=(0, m)) for m in range(4)])
    assert row["sd_encoder"] is None
    assert row["sd_method"] == pytest.approx(np.std([clips(m).top1() for m in range(4)], ddof=1))
    assert row["spread_excludes_encoder"]
    assert "spread excludes the encoder" in words.cells(row)["seeds"]


def test_one_run_has_no_spread() -> None:
    row = only_row([record(clips(0))])
    assert (row["sd_encoder"], row["sd_method"], row["seed_interval"]) == (None, None, None)
    assert not row["spread_excludes_encoder"]


def subject_rates(results: dict[tuple[int, int], Clips]) -> list[float]:
    """Each subject's mean correctness, averaged over seeds, by a slow loop."""
    rates = []
    for p in SUBJECTS:
        of_p = {s: sum(c.of(p)) / len(c.of(p)) for s, c in results.items()}
        means = over_encoders(of_p)
        rates.append(sum(means) / len(means))
    return rates


def test_the_subject_interval_against_scipy() -> None:
    row = only_row([record(c, seeds=s) for s, c in CROSSED.items()])
    rates = subject_rates(CROSSED)
    low, high = stats.t.interval(0.95, 7, loc=np.mean(rates), scale=stats.sem(rates))
    assert row["subject_means"] == pytest.approx(rates)
    assert row["interval"]["low"] == pytest.approx(low)
    assert row["interval"]["high"] == pytest.approx(high)
    assert row["interval"]["name"] == "95 % t over 8 subjects"


def test_the_seed_interval_needs_five_encoders() -> None:
    five = {(e, e): clips(e) for e in range(5)}
    row = only_row([record(c, seeds=s) for s, c in five.items()])
    values = [c.top1() for c in five.values()]
    low, high = stats.t.interval(0.95, 4, loc=np.mean(values), scale=stats.sem(values))
    assert row["seed_interval"]["low"] == pytest.approx(low)
    assert row["seed_interval"]["high"] == pytest.approx(high)
    four = only_row([record(c, seeds=s) for s, c in list(five.items())[:4]])
    assert four["seed_interval"] is None


@pytest.mark.parametrize(("rate", "answer"), [(0.95, True), (0.35, False)])
def test_beats_chance_is_judged_on_mean_class_accuracy(rate: float, answer: bool) -> None:
    result = clips(3, rate)
    row = only_row([record(result)])
    mean_classes = [result.mean_class(p) for p in SUBJECTS]
    low, _ = stats.t.interval(0.95, 7, loc=np.mean(mean_classes), scale=stats.sem(mean_classes))
    assert row["beats_chance"] is bool(low > 1 / 3) is answer


def test_the_rest_of_a_row() -> None:
    row = only_row([record(clips(0), seeds=(s, s), seconds={"fit": s, "score": 1}) for s in (0, 2)])
    assert row["seconds"] == pytest.approx(2.0)
    assert row["seen_accuracy"] == pytest.approx(0.85)
    assert row["clips"] == len(clips(0).correct)
    assert (row["rule"], row["texts"], row["text_fields"]) == ("last", "a", ["motion", "name"])


# --- Which is better ---------------------------------------------------------------------------


def test_daggers_mark_what_is_not_shown_to_differ() -> None:
    results = {"best": exactly(BEST), "far": exactly(FAR), "close": exactly(CLOSE)}
    section = compare([record(c, name) for name, c in results.items()])["sections"][0]
    rows = {r["method"]: r for r in section["rows"]}
    assert [r["method"] for r in section["rows"]] == ["best", "close", "far"]
    assert [r["best"] for r in section["rows"]] == [True, False, False]
    # By hand: the paired t-tests over subjects that scipy makes of it.
    assert stats.ttest_rel(BEST, FAR).pvalue < 1e-4
    assert stats.ttest_rel(BEST, CLOSE).pvalue > 0.3
    assert not rows["far"]["not_shown_to_differ"]
    assert rows["close"]["not_shown_to_differ"]
    assert not rows["best"]["not_shown_to_differ"]
    # The minimum detectable difference (power 80 %), by simulation of the noisier comparison.
    sd = max(np.std(np.subtract(BEST, other), ddof=1) for other in (FAR, CLOSE))
    draws = np.random.default_rng(0).normal(section["detectable"], sd, (20_000, 8))
    tests = stats.ttest_1samp(draws, 0, axis=1)
    found = np.mean((tests.pvalue < 0.05) & (tests.statistic > 0))
    assert found == pytest.approx(0.8, abs=0.02)
    lines = "\n".join(words.caption(section))
    assert "† not significantly worse than the best row (paired t, 95 %)." in lines
    assert f"Minimum detectable difference: {100 * section['detectable']:.1f} points" in lines


def test_no_dagger_no_word_of_it() -> None:
    section = compare([record(exactly(BEST), "best"), record(exactly(FAR), "far")])["sections"][0]
    assert "†" not in "".join(words.caption(section))
    assert "†" not in markdown.report({"sections": [section], "published": []}, width=80, color=0)


def test_two_equal_rows_are_not_shown_to_differ() -> None:
    section = compare([record(exactly(BEST), n) for n in ("one", "two")])["sections"][0]
    assert [r["method"] for r in section["rows"]] == ["one", "two"]
    assert [r["best"] for r in section["rows"]] == [True, False]
    assert section["rows"][1]["not_shown_to_differ"]
    assert section["detectable"] is None


def test_too_few_subjects_no_interval_and_said_so() -> None:
    few = {rate: clips(1, rate, SUBJECTS[:5]) for rate in (0.97, 0.1)}
    records = [record(c, f"m{i}") for i, c in enumerate(few.values())]
    section = compare(records)["sections"][0]
    assert section["subjects"] == 5
    for row in section["rows"]:
        assert row["interval"] is None
        assert row["beats_chance"] is None
        assert words.cells(row)["95 % interval"] == "-"
        assert words.cells(row)["> chance"] == "cannot tell"
    assert section["rows"][1]["not_shown_to_differ"]  # however far: five cannot tell
    assert "No interval: fewer than 6 subjects." in words.caption(section)
    six = compare([record(clips(1, 0.9, SUBJECTS[:6]))])["sections"][0]
    assert six["rows"][0]["interval"]["name"] == "95 % t over 6 subjects"


# --- Sections and rows -------------------------------------------------------------------------

APART: dict[str, dict[str, Any]] = {
    "protocol": {"protocol": {"id": "other"}},
    "tested clips": {"protocol": {"samples": "other"}},
    "setting": {"method": {"setting": "transductive"}},
    "origin": {"encoder": {"origin": "unknown"}},
    "classes or groups": {"protocol": {"digest": "other"}},
}


@pytest.mark.parametrize("difference", APART)
def test_what_may_not_be_ranked_together_is_apart(difference: str) -> None:
    records = [record(clips(0), "one"), record(clips(1), "two", **APART[difference])]
    sections = compare(records)["sections"]
    assert [len(s["rows"]) for s in sections] == [1, 1]
    assert all(s["rows"][0]["best"] for s in sections)


ROWS: dict[str, dict[str, Any]] = {
    "method": {"method": {"name": "n"}},
    "code": {"method": {"digest": "9" * 64}},
    "parameters": {"method": {"science": {"rate": 0.2, "width": 64}}},
    "encoder": {"encoder": {"name": "other"}},
    "encoder code": {"encoder": {"digest": "other"}},
    "encoder parameters": {"encoder": {"science": {"depth": 1}}},
    "text encoder": {"texts": {"encoder": "other"}},
    "text weights": {"texts": {"fingerprint": "other"}},
    "text set": {"texts": {"source": "b"}},
    "text version": {"texts": {"version": 2}},
    "text fields": {"texts": {"fields": ["motion"]}},
    "words": {"texts": {"texts": "other"}},
    "rule": {"selection": "seen-val"},
    "data": {"protocol": {"data": "other"}},
    "device": {"environment": {"device": "cuda"}},
    "threads": {"environment": {"threads": 2}},
    "precision": {"environment": {"precision": "mixed"}},
}


@pytest.mark.parametrize("difference", ROWS)
def test_only_seeds_share_a_row(difference: str) -> None:
    records = [record(clips(0)), record(clips(1), seeds=(1, 1), **ROWS[difference])]
    sections = compare(records)["sections"]
    assert [len(s["rows"]) for s in sections] == [2]


def test_what_does_not_change_a_score_shares_a_row() -> None:
    same = {
        "method": {"runtime": {"batch": 99}},
        "environment": {"commit": "abc", "platform": "elsewhere"},
        "created": "2027-01-01T00:00:00+00:00",
    }
    row = only_row([record(clips(0)), record(clips(1), seeds=(1, 1), **same)])
    assert row["seeds"] == 2


def test_variants_are_named_by_what_differs() -> None:
    def variant(**method: Any) -> Any:
        return record(clips(len(str(method))), method={"name": "m", **method})

    records = [
        variant(),
        variant(science={"rate": 0.2, "width": 64}),
        variant(science={"rate": 0.1, "width": 64}, profile="laptop", digest="9" * 64),
        record(clips(5), "other"),
    ]
    rows = compare(records)["sections"][0]["rows"]
    names = {(r["method"], r["variant"]) for r in rows}
    assert names == {
        ("m", "paper rate=0.1 code ccccccc"),
        ("m", "paper rate=0.2 code ccccccc"),
        ("m", "laptop rate=0.1 code 9999999"),
        ("other", ""),
    }
    assert "m (laptop rate=0.1 code 9999999)" in {
        words.cells(r)["method"].removesuffix(" †") for r in rows
    }


def test_one_row_a_method_needs_no_variant() -> None:
    rows = compare([record(clips(0), "one"), record(clips(1), "two")])["sections"][0]["rows"]
    assert [r["variant"] for r in rows] == ["", ""]


def test_a_parameter_one_variant_lacks_is_a_difference() -> None:
    records = [record(clips(0)), record(clips(1), method={"science": {"rate": 0.1}})]
    rows = compare(records)["sections"][0]["rows"]
    assert {r["variant"] for r in rows} == {"width=64", ""}


def test_an_incomplete_data_set_is_said() -> None:
    section = compare([record(clips(0), protocol={"expected_clips": 500})])["sections"][0]
    assert any("complete data set has 500 test clips" in line for line in words.caption(section))
    section = compare([record(clips(0))])["sections"][0]
    assert not any("complete data set" in line for line in words.caption(section))


# --- Published ---------------------------------------------------------------------------------


def published(protocol: str, method: str = "PAPER", **more: Any) -> dict[str, Any]:
    return {
        "method": method,
        "year": 2024,
        "venue": "CVPR",
        "protocol": protocol,
        "value": 57.5,
        "skeleton_encoder": "their net",
        "text_encoder": "their tower",
        "source": "their paper",
        "remarks": ["Possible leak."],
        **more,
    }


def test_published_rows_only_of_the_protocols_shown_and_marked() -> None:
    rows = [published("toy-4-2", "HERE"), published("another", "THERE")]
    comparison = compare([record(clips(0), "ours")], rows)
    assert [r["method"] for r in comparison["published"]] == ["HERE"]
    methods = [r["method"] for s in comparison["sections"] for r in s["rows"]]
    assert methods == ["ours"]  # never among the rows that were measured
    for draw in (markdown.report, table.report):
        text = draw(comparison, width=100, color=False)
        before, _, after = text.partition("Published, for reference only")
        assert "HERE" not in before
        assert "HERE" in after
        assert "THERE" not in text
        assert "not measured here" in " ".join(after.split())
        assert "Possible leak." in after
    assert compare([record(clips(0))], [rows[1]])["published"] == []


def test_published_files_are_read_and_damaged_ones_named(tmp_path: Path) -> None:
    (tmp_path / "one.json").write_text(json.dumps({"rows": [published("p")]}))
    assert read_published([tmp_path]) == [published("p")]
    for content in ("{", "[]", "{}", "[" * 10_000):
        (tmp_path / "two.json").write_text(content)
        with pytest.raises(UserError, match=r"two\.json are damaged"):
            read_published([tmp_path])


# --- Reporters ---------------------------------------------------------------------------------

EVIL = {
    "method": {"name": "a|b\nc <b>", "profile": "x\ty\x00"},
    "encoder": {"name": f"{ESCAPE}[31mred"},
    "texts": {"source": "[bold]set[/]", "fields": ["f|g", "h\x07"]},
    "protocol": {"id": f"p|q {ESCAPE}]0;t\x07", "rule": f"r{ESCAPE}[2J|"},
}


def many() -> dict[str, Any]:
    """A comparison with long names and every kind of cell."""
    records = [
        record(clips(10 * i + s, 0.2 * i + 0.1), f"a-method-with-a-long-name-{i}", (s, s))
        for i in range(4)
        for s in range(6)
    ]
    second = {"texts": {"source": "another-set-of-texts", "version": 2}}
    records += [record(clips(90 + s), "m", (0, s), **second) for s in range(3)]
    return compare(records, [published("toy-4-2", source="a long source " * 8)])


def body(line: str) -> list[str]:
    """Cells of a Markdown row; an escaped pipe does not end one."""
    marked = line.replace("\\|", "\0")
    assert marked.startswith("| ")
    assert marked.endswith(" |")
    return [c.strip().replace("\0", "|") for c in marked[1:-1].split("|")]


def test_markdown_is_a_table_of_the_same_numbers() -> None:
    comparison = many()
    text = markdown.report(comparison, width=10, color=True)
    lines = text.splitlines()
    assert lines[0] == "### toy-4-2"
    rows = [body(line) for line in lines if line.startswith("| ")]
    headings, rule, first = rows[:3]
    assert set(rule) == {"---"}
    assert len(headings) == len(first)
    best = comparison["sections"][0]["rows"][0]
    cells = dict(zip(headings, first, strict=True))
    assert cells["method"] == best["method"] == "a-method-with-a-long-name-3"
    assert cells["top-1 (%)"] == f"**{100 * best['top1']:.1f}**"
    assert cells["mean class acc. (%)"] == f"{100 * best['mean_class']:.1f}"
    assert text.count("**") == 2  # only the best is bold
    assert ESCAPE not in text


def test_markdown_escapes_what_would_break_it() -> None:
    comparison = compare(
        [record(clips(0), **EVIL), record(clips(1), "b", protocol=EVIL["protocol"])]
    )
    text = markdown.report(comparison, width=80, color=True)
    assert not [c for c in text if not c.isprintable() and c != "\n"]
    rows = [body(line) for line in text.splitlines() if line.startswith("| ")]
    assert {len(r) for r in rows} == {len(rows[0])}
    assert len(rows) == 2 + 2
    assert any(r[0].startswith("a|b c &lt;b>") for r in rows)
    assert "<b>" not in text


@pytest.mark.parametrize("width", [60, 80, 140])
def test_the_table_fits_the_terminal(width: int) -> None:
    comparison = many()
    text = table.report(comparison, width=width, color=False)
    assert max(map(len, text.splitlines())) <= width
    assert ESCAPE not in text
    flat = "".join(text.split())
    assert "toy-4-2" in text
    for row in comparison["sections"][0]["rows"]:
        assert f"{100 * row['top1']:.1f}" in text
    assert "95%tover8subjects" in flat
    assert "57.50" in text


def test_a_wide_table_holds_every_number() -> None:
    comparison = many()
    text = table.report(comparison, width=400, color=False)
    headings, cells, _ = words.grid(comparison["sections"][0])
    assert {"sd enc", "sd meth", "time", "> chance"} <= set(headings)
    for heading in headings:
        assert heading in text
    for row in cells:
        line = next(x for x in text.splitlines() if f"│ {row['method']} " in x)
        assert [c.strip() for c in line.strip("│").split("│")] == [row[h] for h in headings]


def test_what_all_rows_share_is_said_once() -> None:
    section = many()["sections"][0]
    headings, _, common = words.grid(section)
    assert common["encoder"] == "net"
    assert "encoder" not in headings
    assert "texts" in headings  # two sets
    assert "encoder net" in words.caption(section)[0]


def test_colour_only_where_it_is_wanted() -> None:
    assert ESCAPE in table.report(many(), width=80, color=True)


def test_names_bring_no_escape_codes_and_no_markup() -> None:
    comparison = compare([record(clips(0), **EVIL)], [published(EVIL["protocol"]["id"], ESCAPE)])
    for width in (60, 200):
        text = table.report(comparison, width=width, color=False)
        assert not [c for c in text if not c.isprintable() and c != "\n"]
    assert "[bold]set[/]" in table.report(comparison, width=200, color=False)


def test_json_is_the_comparison() -> None:
    comparison = many()
    text = json_reporter.report(comparison, width=10, color=True)
    assert json.loads(text) == json.loads(json.dumps(comparison))
    assert json.loads(text)["sections"][0]["rows"][0]["best"] is True


@pytest.mark.parametrize(
    ("value", "said"),
    [(0.43, "0.4 s"), (11.6, "12 s"), (89.9, "90 s"), (185, "3:05 min"), (4321, "1:12 h")],
)
def test_durations(value: float, said: str) -> None:
    assert words.seconds(value) == said


# --- Stored runs -------------------------------------------------------------------------------

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(
    toy_process: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """The command line in this process, beside an empty results folder."""
    monkeypatch.setenv("COLUMNS", "120")

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["zsar-bench", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        return int(end.value.code or 0), *capsys.readouterr()

    return run


def test_records_come_back(tmp_path: Path) -> None:
    one = record(clips(0))
    folder = store(tmp_path, "1", one)
    store(tmp_path, ".2.part", one)  # unfinished: not looked at
    assert find_records(tmp_path) == [folder]
    assert find_records(tmp_path, "other") == []
    assert read_record(folder) == one


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
    "not text": lambda data: b"\xff\xfe\x00",
    "a field missing": lambda data: data.replace(b'"selection":"last",', b""),
    "a field too many": lambda data: data.replace(b'"selection"', b'"extra":1,"selection"'),
    "a wrong type": lambda data: data.replace(b'"encoder_seed":0', b'"encoder_seed":"zero"'),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_record_is_left_out_and_named(damage: str, tmp_path: Path) -> None:
    sound = store(tmp_path, "1", record(clips(0)))
    bad = store(tmp_path, "2", record(clips(1)))
    data = (bad / "run.json").read_bytes()
    changed = DAMAGE[damage](data)
    assert changed != data
    (bad / "run.json").write_bytes(changed)
    records, messages = load_records(find_records(tmp_path))
    assert records == [read_record(sound)]
    assert len(messages) == 1
    assert str(bad / "run.json") in messages[0]
    assert "is damaged" in messages[0]


def test_the_command_says_so_and_exits_with_1(command: Command, tmp_path: Path) -> None:
    store(tmp_path / "results", "1", record(clips(0), "sound"))
    bad = store(tmp_path / "results", "2", record(clips(1), "torn"))
    (bad / "run.json").write_text('{"schema_version": 1')
    code, out, err = command("compare")
    assert code == 1
    assert "sound" in out
    assert "torn" not in out
    assert "Left out: " in err
    assert str((bad / "run.json").relative_to(tmp_path)) in err
    code, out, _ = command("compare", "--json")
    assert code == 1
    assert [r["method"] for r in json.loads(out)["sections"][0]["rows"]] == ["sound"]


def test_only_damaged_records(command: Command, tmp_path: Path) -> None:
    bad = store(tmp_path / "results", "1", record(clips(0)))
    (bad / "run.json").write_text("")
    code, out, err = command("compare")
    assert code in (1, 2)
    assert out.strip() == ""
    assert str((bad / "run.json").relative_to(tmp_path)) in err
    assert "has this method" not in err


def test_nothing_to_compare(command: Command, tmp_path: Path) -> None:
    code, _, err = command("compare", "--results", tmp_path / "nowhere")
    assert code == 2
    assert "There are no finished runs" in err
    assert "zsar-bench run" in err


def test_one_protocol_of_several(command: Command, tmp_path: Path) -> None:
    results = tmp_path / "results"
    store(results, "1", record(clips(0), "here"))
    other = {"protocol": {"id": "purls-utd-mhad-22-5", "dataset": "utd-mhad"}}
    store(results, "2", record(clips(1), "there", **other))
    code, out, _ = command("compare", "--protocol", "toy", "--json")  # an alias
    assert code == 0
    found = json.loads(out)
    assert [s["protocol"] for s in found["sections"]] == ["toy-4-2"]
    assert found["published"] == []
    code, out, _ = command("compare", "--json")
    found = json.loads(out)
    assert len(found["sections"]) == 2
    assert {r["protocol"] for r in found["published"]} == {"purls-utd-mhad-22-5"}
    code, out, _ = command("compare", "--no-published", "--json")
    assert json.loads(out)["published"] == []
    code, _, err = command("compare", "--protocol", "toy-42")
    assert code == 2
    assert "Did you mean toy-4-2" in err


def test_every_format_by_name(command: Command, tmp_path: Path) -> None:
    store(tmp_path / "results", "1", record(clips(0), "here"))
    assert "│ here" in command("compare")[1]
    assert "| here |" in command("compare", "--format", "markdown")[1]
    assert json.loads(command("compare", "--format", "json")[1])["sections"]
    code, _, err = command("compare", "--format", "markdow")
    assert code == 2
    assert "Did you mean markdown?" in err


def test_a_thousand_runs(command: Command, tmp_path: Path) -> None:
    for p in range(4):
        for m in range(10):
            template = record(clips(m), f"m{m}", protocol={"id": f"protocol-{p}"})
            for s in range(25):
                seeds = {"encoder_seed": s, "method_seed": s}
                store(tmp_path / "results", f"{s:016x}", template.model_copy(update=seeds))
    code, out, _ = command("compare", "--json")
    assert code == 0
    sections = json.loads(out)["sections"]
    assert [len(s["rows"]) for s in sections] == [10] * 4
    assert {r["seeds"] for s in sections for r in s["rows"]} == {25}
