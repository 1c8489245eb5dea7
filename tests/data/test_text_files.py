"""Class texts from the layouts of others: on files made here, on damage, and on the real ones."""

from __future__ import annotations

import hashlib
import io
import json
import re
import sys
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kit.command import TOY_ENCODERS
from kit.paths import ROOT, SHARED_DATA, TESTS
from zsar_bench.common.classes import ActionClass, read_classes
from zsar_bench.data.texts import workbook
from zsar_bench.data.texts.text_files import TextFile, WrongCount, parse_text_file
from zsar_bench.data.texts.texts import ClassTexts, bare_name, read_texts
from zsar_bench.data.texts.workbook import LARGEST_FILE, UNPACKED, read_workbook
from zsar_bench.errors import DataError, UserError
from zsar_bench.sandbox import launch
from zsar_bench.sandbox.client import Worker
from zsar_bench.sandbox.confinement.confine import support

pytestmark = pytest.mark.usefixtures("workers_here")  # nothing here is about processes

ARCHIVE = SHARED_DATA / "zsar_splits_semantics" / "zsar_splits_semantics.zip"
real = pytest.mark.skipif(not ARCHIVE.is_file(), reason="the files of others are not here")
DATA = ROOT / "plugins" / "zsar_datasets" / "data"

NAMES = ["wave a hand", "bow", "kick the ball", "sit down", "stand up", "jump"]
CLASSES = [ActionClass(f"A{i}", name, "", "") for i, name in enumerate(NAMES, start=1)]
NAMELESS = [ActionClass(str(i), "", "", "") for i in range(6)]
OTHER_WORDS = ["hand waving", "bowing", "kicking", "sitting down", "standing up", "jumping up"]
MOVES = [
    f"the left knee goes {times} times to the chest"
    for times in ("one", "two", "three", "four", "five", "six")
]
LONGER = [f"movement {n} of the longer list" for n in range(4)]


def by_index(texts: Iterable[str], header: str = "idx,label", start: int = 1) -> bytes:
    rows = [f"{i},{text}" for i, text in enumerate(texts, start=start)]
    return "\n".join([header, *rows]).encode()


def by_line(texts: Iterable[str], end: str = "\n") -> bytes:
    return end.join(texts).encode()


def texts_of(file: TextFile | ClassTexts, field: str) -> list[str]:
    return list(file.fields[field].values())


def refusal(name: str, data: bytes, *more, **given_) -> UserError:
    with pytest.raises(UserError) as error:
        parse_text_file(name, data, CLASSES, *more, **given_)
    assert name.partition(":")[0] in error.value.what
    return error.value


# --- Lists by index --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "header", "texts", "field"),
    [
        ("names.csv", "idx,label", OTHER_WORDS, "name"),
        ("lb_6.csv", "idx,label", OTHER_WORDS, "name"),
        ("ad_6.csv", "idx,label", MOVES, "description"),
        ("md_6.csv", "idx,dcp", MOVES, "motion"),
        ("MD_120.CSV", "Idx, Label", MOVES, "motion"),
        ("renamed.csv", "idx,dcp", MOVES, "motion"),
    ],
)
@pytest.mark.parametrize("start", [0, 1])
def test_a_list_by_index(name, header, texts, field, start) -> None:
    data = by_index(texts, header, start)
    file = parse_text_file(name, data, CLASSES)
    assert file.fields == {field: {c.id: t for c, t in zip(CLASSES, texts, strict=True)}}
    assert (file.layout, file.rows, file.faults) == ("by index", 6, {})
    assert file.sha256 == hashlib.sha256(data).hexdigest()


def test_texts_belong_to_classes_by_index_not_by_line() -> None:
    lines = by_index(MOVES, "idx,dcp").decode().split("\n")
    shuffled = "\n".join([lines[0], *reversed(lines[1:])]).encode()
    assert texts_of(parse_text_file("m.csv", shuffled, CLASSES), "motion") == MOVES


def test_quotes_a_byte_order_mark_and_other_line_ends_change_nothing() -> None:
    quoted = [f'"{text}"' for text in MOVES]
    plain = parse_text_file("m.csv", by_index(MOVES, "idx,dcp"), CLASSES).fields
    for data in (
        by_index(quoted, "idx,dcp"),
        b"\xef\xbb\xbf" + by_index(MOVES, "idx,dcp"),
        by_index(MOVES, "idx,dcp").replace(b"\n", b"\r\n") + b"\r\n\r\n",
        by_index(MOVES, "idx,dcp").replace(b"\n", b"\r"),
        by_index([f"  {t} " for t in MOVES], "idx,dcp"),
    ):
        assert parse_text_file("m.csv", data, CLASSES).fields == plain


def test_a_quoted_text_may_hold_commas_and_quotes() -> None:
    rows = [*MOVES[:5], '"first this, then ""that"""']
    file = parse_text_file("m.csv", by_index(rows, "idx,dcp"), CLASSES)
    assert texts_of(file, "motion")[5] == 'first this, then "that"'


def test_names_that_describe_are_refused_until_the_user_says_what_they_are() -> None:
    error = refusal("moves.csv", by_index(MOVES))
    assert "0 of 6" in error.what
    assert "--texts motion=moves.csv" in error.hint
    file = parse_text_file("moves.csv", by_index(MOVES), CLASSES, field="motion")
    assert texts_of(file, "motion") == MOVES
    named = parse_text_file("moves.csv", by_index(MOVES), CLASSES, field="name")
    assert texts_of(named, "name") == MOVES


def test_names_in_another_order_are_refused() -> None:
    assert "official order" in refusal("n.csv", by_index(sorted(NAMES, reverse=True))).what


def test_a_data_set_without_names_takes_them_from_the_file() -> None:
    file = parse_text_file("n.csv", by_index(NAMES), NAMELESS)
    assert texts_of(file, "name") == NAMES


MOTION = by_index(MOVES, "idx,dcp")


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "is empty"),
        (b"\n \n", "is empty"),
        (b"\xef\xbb\xbf", "is empty"),
        (by_line(MOVES), "line 1"),
        (MOTION.replace(b"idx,dcp", b"idx;dcp"), "line 1"),
        (MOTION.replace(b"idx,dcp", b"idx,dcp,more"), "line 1"),
        (MOTION.replace(b"idx,dcp", b"idx,text"), "line 1"),
        (MOTION.replace(b"\n3,", b"\n3,so,"), "line 4 has 3 columns"),
        (MOTION.replace(b"\n3,", b"\n\n3,"), "line 4 has 0 columns"),
        (MOTION.replace(b"\n3,", b"\n2,"), "line 4: index 2 was"),
        (MOTION.replace(b"\n3,", b"\n9,"), "no line with index 3"),
        (MOTION.replace(b"\n3,", b"\n-3,"), "line 4: '-3'"),
        (MOTION.replace(b"\n3,", b"\n" + "\u0663".encode() + b","), "line 4"),
        (MOTION.replace(b"\n3,", b"\n" + b"3" * 5000 + b","), "line 4"),
        (by_index(MOVES, "idx,dcp", start=2), "no line with index 1"),
        (MOTION.replace(MOVES[2].encode(), b" "), "line 4: there is no text"),
        (MOTION.replace(b"three", b"two"), "line 4: the same text as in line 3"),
        (MOTION.replace(b"three", b"thr\xe9e"), "line 4: this is not UTF-8"),
        (MOTION.decode().encode("utf-16"), "UTF-16"),
        (MOTION.replace(b"three", b"thr\x00e"), "line 4: the character U+0000"),
        (MOTION.replace(b"three", "\ufffd".encode()), "line 4: the character U+FFFD"),
        (MOTION.replace(b"three", b"thr" + b"e" * 4000), "line 4: a text is longer than 4000"),
        (MOTION.replace(b"3,", b'3,"'), "line 4"),
        (MOTION.replace(b"3,the", b'3,"the\nleft" the'), "line 4"),
        (MOTION.replace(b"3,the left", b'3,"the\nleft"'), "line 4"),
        (MOTION + b"\n" * 9 + b" " * LARGEST_FILE, "larger than 8 MiB"),
        (b"idx,dcp", "has 0 lines; this data set needs 6"),
    ],
)
def test_what_is_wrong_with_a_list_is_said_with_its_line(data: bytes, what: str) -> None:
    assert what in refusal("m.csv", data).what


# --- Counts ----------------------------------------------------------------------------------


def test_a_longer_list_that_is_known_gives_its_first_classes() -> None:
    data = by_index([*MOVES, *LONGER], "idx,dcp")
    file = parse_text_file("m.csv", data, CLASSES, longer=[10])
    assert (texts_of(file, "motion"), file.rows) == (MOVES, 10)
    with pytest.raises(WrongCount, match="has 10 lines; this data set needs 6"):
        parse_text_file("m.csv", data, CLASSES)
    with pytest.raises(WrongCount, match="has 5 lines; this data set needs 6 or 10"):
        parse_text_file("m.csv", by_index(MOVES[:5], "idx,dcp"), CLASSES, longer=[10])


def test_longer_lists_are_known_from_the_text_sets_that_a_data_set_shares(tmp_path) -> None:
    classes = read_classes(DATA / "ntu-60" / "classes.toml")
    sets = {"a": str(DATA / "ntu-120" / "texts-a.toml")}
    for count in (59, 60, 61, 120):
        (tmp_path / "x_des.txt").write_bytes(by_line(f"text {n}" for n in range(count)))
        if count in (60, 120):
            texts = read_texts(str(tmp_path / "x_des.txt"), sets, classes)
            assert texts_of(texts, "description") == [f"text {n}" for n in range(60)]
            assert ("first 60 of 120" in texts.about) == (count == 120)
        else:
            with pytest.raises(UserError, match="this data set needs 60 or 120"):
                read_texts(str(tmp_path / "x_des.txt"), sets, classes)


# --- Lists by line ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "texts", "field"),
    [
        ("some_llm.txt", MOVES, "description"),
        ("some_des.txt", MOVES, "description"),
        ("some_label.txt", OTHER_WORDS, "name"),
        ("some_labelmap.txt", OTHER_WORDS, "name"),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_list_by_line(name, texts, field, end) -> None:
    for last in ("", end, end * 3):
        file = parse_text_file(name, by_line([*texts[:5], texts[5] + last], end), CLASSES)
        assert texts_of(file, field) == texts
        assert (file.layout, list(file.fields)) == ("by line", [field])


def test_a_line_separator_inside_a_text_is_no_new_line() -> None:
    texts = [*MOVES[:5], "one\u2028two \u201cthree\u201d, four"]
    assert texts_of(parse_text_file("x_des.txt", by_line(texts), CLASSES), "description") == texts


def test_a_name_that_says_nothing_asks_the_user() -> None:
    assert "--texts description=some.txt" in refusal("some.txt", by_line(MOVES)).hint
    file = parse_text_file("some.txt", by_line(MOVES), CLASSES, field="motion")
    assert list(file.fields) == ["motion"]


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "is empty"),
        (by_line(MOVES[:5]), "has 5 lines"),
        (by_line([*MOVES[:2], "", *MOVES[2:]]), "line 3: there is no text"),
        (by_line([*MOVES[:5], MOVES[0]]), "line 6: the same text as in line 1"),
        (by_line([*MOVES[:5], MOVES[0] + "  "]), "line 6: the same text as in line 1"),
        (by_line(MOVES).replace(b"two", b"tw\xf3"), "line 2: this is not UTF-8"),
        (by_line(MOVES, "\r\n").replace(b"two", b"tw\xf3"), "line 2: this is not UTF-8"),
        (by_line(MOVES).replace(b"two", b"\x1b[31m"), "line 2: the character U+001B"),
    ],
)
def test_what_is_wrong_with_lines_is_said_with_the_line(data: bytes, what: str) -> None:
    assert what in refusal("x_des.txt", data).what


# --- Workbooks -------------------------------------------------------------------------------

HEADS = ["Action Labels", "Head", "Hands", "Torso", "Legs", "Start", "Middle", "End", "Global Desc"]
FIELDS = ["name", "head", "arms", "torso", "legs", "start", "middle", "end", "description"]
_MAIN = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = 'xmlns="http://schemas.openxmlformats.org/package/2006/relationships"'

Table = list[list[str]]


def table(names: list[str]) -> Table:
    return [HEADS, *([n, *(f"{h} of {n}".lower() for h in HEADS[1:])] for n in names)]


def parts_of(sheets: dict[str, Table]) -> dict[str, str]:
    """The parts of a workbook as Excel lays them out, with shared strings."""
    strings: list[str] = []
    parts = {}
    for number, rows in enumerate(sheets.values(), start=1):
        lines = []
        for r, row in enumerate(rows, start=1):
            cells = []
            for c, text in enumerate(row):
                if text:
                    strings.append(text)
                    cells.append(f'<c r="{chr(65 + c)}{r}" t="s"><v>{len(strings) - 1}</v></c>')
            lines.append(f'<row r="{r}" spans="1:9">{"".join(cells)}</row>')
        body = f"<worksheet {_MAIN}><sheetData>{''.join(lines)}</sheetData></worksheet>"
        parts[f"xl/worksheets/sheet{number}.xml"] = body
    items = "".join(f"<si><t>{escape(text)}</t></si>" for text in strings)
    named = "".join(
        f'<sheet name="{escape(name)}" sheetId="{i}" r:id="rId{i}"/>'
        for i, name in enumerate(sheets, start=1)
    )
    linked = "".join(
        f'<Relationship Id="rId{i}" Type="{_OFFICE}/worksheet" Target="worksheets/sheet{i}.xml"/>'
        for i in range(1, len(sheets) + 1)
    )
    linked += f'<Relationship Id="s" Type="{_OFFICE}/sharedStrings" Target="sharedStrings.xml"/>'
    return {
        "_rels/.rels": f'<Relationships {_PACKAGE}><Relationship Id="rId1" '
        f'Type="{_OFFICE}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook {_MAIN} xmlns:r="{_OFFICE}">'
        f"<sheets>{named}</sheets></workbook>",
        "xl/_rels/workbook.xml.rels": f"<Relationships {_PACKAGE}>{linked}</Relationships>",
        "xl/sharedStrings.xml": f"<sst {_MAIN}>{items}</sst>",
        **parts,
    }


def zipped(parts: dict[str, str | bytes], packed: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", packed) as archive:
        for name, text in parts.items():
            archive.writestr(name, text)
    return out.getvalue()


def book(**sheets: Table) -> bytes:
    return zipped(parts_of(sheets))


def changed(old: str, new: str, part: str = "xl/sharedStrings.xml") -> bytes:
    """A workbook of one sheet with one thing changed in a part."""
    parts = parts_of({"Six": table(OTHER_WORDS)})
    assert old in parts[part]
    return zipped(parts | {part: parts[part].replace(old, new, 1)})


def test_a_workbook() -> None:
    data = book(Two=table(["bow", "jump"]), Six=table(OTHER_WORDS), Notes=[["nothing"]])
    file = parse_text_file("b.xlsx", data, CLASSES)
    assert (file.layout, file.sheet, file.rows, file.faults) == ("by row", "Six", 6, {})
    assert list(file.fields) == FIELDS
    for column, field in enumerate(FIELDS):
        assert texts_of(file, field) == [row[column] for row in table(OTHER_WORDS)[1:]]


def test_a_sheet_of_the_same_length_has_to_be_named() -> None:
    data = book(One=table(OTHER_WORDS), Other=table(NAMES))
    error = refusal("b.xlsx", data)
    assert ("One and Other" in error.what, "--texts 'b.xlsx:One'" in error.hint) == (True, True)
    file = parse_text_file("b.xlsx", data, CLASSES, sheet="Other")
    assert texts_of(file, "name") == NAMES


def test_a_sheet_of_the_right_length_goes_before_a_longer_one() -> None:
    data = book(Long=table([*OTHER_WORDS, *LONGER]), Six=table(NAMES))
    assert parse_text_file("b.xlsx", data, CLASSES, longer=[10]).sheet == "Six"
    alone = book(Long=table([*OTHER_WORDS, *LONGER]))
    file = parse_text_file("b.xlsx", alone, CLASSES, longer=[10])
    assert (file.sheet, file.rows, texts_of(file, "name")) == ("Long", 10, OTHER_WORDS)


def test_sheets_that_do_not_fit_are_listed() -> None:
    data = book(Two=table(["bow", "jump"]), Notes=[["nothing"]])
    assert "(found: Two 2)" in refusal("b.xlsx", data).what
    assert "2 rows in sheet Two" in refusal("b.xlsx", data, sheet="Two").what
    assert "--texts 'b.xlsx:Two'" in refusal("b.xlsx", data, sheet="Tow").hint
    assert "no column that is known" in refusal("b.xlsx", data, sheet="Notes").what
    assert "motion=" in refusal("b.xlsx", data, field="motion").what


def test_rows_in_another_order_are_refused() -> None:
    assert "official order" in refusal("b.xlsx", book(S=table(NAMES[::-1]))).what


def test_body_parts_may_repeat_but_what_is_the_whole_text_may_not() -> None:
    rows = table(OTHER_WORDS)
    rows[3][4] = rows[2][4]  # legs
    rows[3][8] = rows[2][8]  # the whole description
    rows[5][1] = ""
    file = parse_text_file("b.xlsx", book(S=rows), CLASSES)
    assert texts_of(file, "legs")[1] == texts_of(file, "legs")[2]
    assert set(file.faults) == {"description", "head"}
    assert "row 4: the same text as in row 3" in file.faults["description"]
    assert "row 6: there is no text" in file.faults["head"]
    texts = ClassTexts("b", 1, file.fields, faults=file.faults)
    assert texts.check_fields(["legs"]) == ("legs",)
    with pytest.raises(UserError, match="row 4: the same text as in row 3"):
        texts.check_fields(["legs", "description"])


def test_columns_are_found_by_their_heads() -> None:
    rows = [[*row[::-1], "a remark"] for row in table(OTHER_WORDS)]
    rows[0][0] = "global  DESC "
    file = parse_text_file("b.xlsx", book(S=rows), CLASSES)
    assert set(file.fields) == set(FIELDS)
    assert texts_of(file, "name") == OTHER_WORDS


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "not an .xlsx workbook"),
        (b"\xd0\xcf\x11\xe0" + b"\0" * 600, "not an .xlsx workbook"),
        (zipped({"a.txt": "text"}), "it lacks xl/workbook.xml"),
        (book(S=table(NAMES))[:-30], "not an .xlsx workbook"),
        (changed("<si>", "<si"), "is damaged: "),
        (changed("<v>3<", "<v>9999<", "xl/worksheets/sheet1.xml"), "is damaged: "),
        (changed('r="A2"', 'r="2A"', "xl/worksheets/sheet1.xml"), "is damaged: "),
        (changed("rId1", "rId9", "xl/workbook.xml"), "is damaged: "),
        (changed("bowing", "bow" + "i" * 40_000), "longer than 32767 characters"),
        (
            changed(
                "</sheetData>",
                '<row r="50001"><c r="A50001"><v>1</v></c></row></sheetData>',
                "xl/worksheets/sheet1.xml",
            ),
            "more than 50000 rows",
        ),
        (book(**{f"S{n}": [] for n in range(101)}), "more than 100 sheets"),
        (b"PK" + b"\0" * LARGEST_FILE, "larger than 8 MiB"),
    ],
)
def test_what_is_no_workbook_is_refused(data: bytes, what: str) -> None:
    assert what in refusal("b.xlsx", data).what


def test_a_bomb_is_not_unpacked() -> None:
    data = zipped(parts_of({"S": table(NAMES)}) | {"xl/sharedStrings.xml": b" " * (8 * UNPACKED)})
    assert len(data) < 200_000
    with pytest.raises(DataError, match="unpacks to more than 16 MiB"):
        parse_text_file("b.xlsx", data, CLASSES)


def test_many_parts_together_are_a_bomb_too() -> None:
    parts = parts_of({f"S{n}": table(NAMES) for n in range(90)})
    padded = {n: t + " " * 400_000 if "sheets/" in n else t for n, t in parts.items()}
    with pytest.raises(DataError, match="unpacks to more than 16 MiB"):
        parse_text_file("b.xlsx", zipped(padded), CLASSES)


def lying(data: bytes) -> bytes:
    """An archive that says of all its parts that they unpack to ten bytes."""
    out = bytearray(data)
    for sign, at in ((b"PK\x01\x02", 24), (b"PK\x03\x04", 22)):
        place = -1
        while (place := out.find(sign, place + 1)) >= 0:
            out[place + at : place + at + 4] = (10).to_bytes(4, "little")
    return bytes(out)


FAR = changed('r="A2"', 'r="XFD1048576"', "xl/worksheets/sheet1.xml")
LONG = changed("bowing", "b" + "o" * 100_000_000)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not limit memory")
@pytest.mark.parametrize("data", [FAR, lying(LONG)], ids=["far", "lying"])
def test_what_takes_gigabytes_ends_the_worker_and_nothing_else(data: bytes) -> None:
    """Two cells as far apart as a sheet is large; a bomb that lies about its size is no worse."""
    assert len(data) < LARGEST_FILE
    error = refusal("b.xlsx", data)
    assert "b.xlsx" in error.what
    assert len(error.what) < 300


@pytest.mark.parametrize(
    ("declared", "used"),
    [
        ('<!DOCTYPE sst [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;&a;">]>', "&b;"),
        ('<!DOCTYPE sst [<!ENTITY b SYSTEM "file:///etc/passwd">]>', "&b;"),
    ],
)
def test_entities_are_never_expanded(declared: str, used: str) -> None:
    parts = parts_of({"Six": table(OTHER_WORDS)})
    strings = parts["xl/sharedStrings.xml"].replace("<sst", f"{declared}<sst")
    data = zipped(parts | {"xl/sharedStrings.xml": strings.replace("bowing", f"bow{used}ing")})
    with pytest.raises(DataError, match=r"is damaged: .*unrecognized entity"):
        parse_text_file("b.xlsx", data, CLASSES)


def test_deep_nesting_ends_in_a_refusal_or_a_table() -> None:
    only_refusals("b.xlsx", changed("<si>", f"<si>{'<x>' * 200_000}"))


def test_a_workbook_is_read_behind_walls(monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker reads its copy of the file, has no network, and writes to its own folder only."""
    seen: list[dict[str, Any]] = []

    def run(job: dict[str, Any], folder: Path) -> dict[str, Any]:
        seen.append({"rules": launch.rules(job, folder), "folder": folder, **job})
        with Worker(job, folder) as worker:
            answer = worker.answer()
            seen[-1]["confinement"] = worker.confinement
        return answer

    monkeypatch.setattr(workbook, "run_job", run)
    read_workbook.cache_clear()
    read_workbook(book(One=table(NAMES)), "b.xlsx")
    (job,) = seen
    assert job["limits"] == {"seconds": workbook.SECONDS, "bytes": workbook.MEMORY}
    assert job["confinement"].system_calls == support().system_calls
    assert job["confinement"].level == support().level
    assert not job["rules"].network
    assert not {str(Path.home()), "/", "/tmp"} & {*job["rules"].read, *job["rules"].names}
    mine = [path for path in job["rules"].write if not path.startswith("/dev/")]
    assert mine == [str(job["folder"].resolve())]
    assert not job["folder"].exists()  # gone with its copy


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"sheets": 5},
        {"sheets": [["S", [[0, [[1, "a"]]]]]]},
        {"sheets": [["S", [[1, [[65, "a"]]]]]]},
        {"sheets": [["S", [[True, [[1, "a"]]]]]]},
        {"sheets": [["S", [[1, [[1, "a" * 40_000]]]]]]},
        {"sheets": [["S", [[n, [[1, "a" * 30_000]]] for n in range(1, 700)]]]},
        {"sheets": [[f"S{n}", []] for n in range(101)]},
    ],
)
def test_what_no_worker_says_of_a_workbook_is_refused(
    said: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workbook, "run_job", lambda *job: said)
    read_workbook.cache_clear()
    with pytest.raises(DataError, match="no table of texts"):
        read_workbook(b"PK", "b.xlsx")


def test_a_workbook_that_another_library_wrote() -> None:
    openpyxl = pytest.importorskip("openpyxl")
    from openpyxl.cell.rich_text import CellRichText, TextBlock
    from openpyxl.cell.text import InlineFont

    written = openpyxl.Workbook()
    sheet = written.active
    sheet.title = "Six & more"
    for row in table(OTHER_WORDS):
        sheet.append(row)
    sheet["B2"] = CellRichText("the ", TextBlock(InlineFont(b=True), "head"), " nods <&> turns")
    sheet["C3"] = 7.5
    sheet["E3"] = 1
    sheet["F3"] = True
    sheet["AB4"] = "far away"
    sheet["D4"] = "tab_x0009_and é"
    sheet["A900"] = " "
    out = io.BytesIO()
    written.save(out)
    file = parse_text_file("b.xlsx", out.getvalue(), CLASSES)
    assert (file.sheet, file.rows, file.faults) == ("Six & more", 6, {})
    assert file.fields["head"]["A1"] == "the head nods <&> turns"
    assert file.fields["arms"]["A2"] == "7.5"
    assert file.fields["torso"]["A3"] == "tab\tand é"
    assert texts_of(file, "description") == [row[8] for row in table(OTHER_WORDS)[1:]]
    rows = read_workbook(out.getvalue(), "b.xlsx")["Six & more"]
    assert rows[4][28] == "far away"
    assert (rows[3][3], rows[3][5], rows[3][6]) == ("7.5", "1", "True")


# --- Damage ----------------------------------------------------------------------------------

SMALL = {
    "m.csv": by_index(MOVES, "idx,dcp"),
    "n.csv": by_index(OTHER_WORDS),
    "x_des.txt": by_line(MOVES),
}


@st.composite
def damaged(draw, start: bytes) -> bytes:
    """Flips, cuts, repeats and long numbers in a small whole file."""
    data = bytearray(start)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        length = draw(st.integers(0, 40))
        kind = draw(st.sampled_from(["flip", "cut", "repeat", "number", "bytes"]))
        if kind == "flip" and data:
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "cut":
            del data[at : at + length]
        elif kind == "repeat":
            data[at:at] = data[at : at + length] * draw(st.integers(1, 5))
        elif kind == "number":
            data[at:at] = str(draw(st.integers(0, 10**30))).encode()
        else:
            data[at:at] = draw(st.binary(max_size=8))
    return bytes(data)


def only_refusals(name: str, data: bytes) -> None:
    """A user's error, or whole texts of every class."""
    try:
        file = parse_text_file(name, data, CLASSES, [10])
    except UserError:
        return
    for texts in file.fields.values():
        assert list(texts) == [c.id for c in CLASSES]
        for text in texts.values():
            assert text == text.strip() != ""
            assert text.encode().decode().isprintable() or "\t" in text or not text.isascii()


@settings(max_examples=300, deadline=None)
@given(st.data(), st.sampled_from(sorted(SMALL)))
def test_a_damaged_list_is_refused_or_still_whole(data, name: str) -> None:
    only_refusals(name, data.draw(damaged(SMALL[name])))


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.sampled_from(["m.csv", "x_des.txt"]))
def test_random_bytes_are_refused(data: bytes, name: str) -> None:
    only_refusals(name, data)


@settings(max_examples=12, deadline=None)  # each starts a worker; the fuzzing campaign has more
@given(damaged(book(S=table(OTHER_WORDS))))
def test_a_damaged_workbook_is_refused_or_still_whole(data: bytes) -> None:
    only_refusals("b.xlsx", data)


@settings(max_examples=25, deadline=None)
@given(st.data(), st.sampled_from(sorted(parts_of({"S": []}))))
def test_a_workbook_with_a_damaged_part_is_refused_or_still_whole(data, part: str) -> None:
    parts: dict[str, str | bytes] = {**parts_of({"S": table(OTHER_WORDS)})}
    parts[part] = data.draw(damaged(str(parts[part]).encode()))
    only_refusals("b.xlsx", zipped(parts, zipfile.ZIP_STORED))


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("version = 2", "version = nan", "'version' must be"),
        ("version = 2", "version = inf", "'version' must be"),
        ("version = 2", "version = [2]", "'version' must be"),
        ("version = 2", "version = 0", "'version' must be"),
        ("version = 2", 'version = "2"', "'version' must be"),
        ("oracle = false", 'oracle = "false"', "'oracle' must be"),
        ('"kick"', "0x7fff", "class b, field 'motion'"),
        ('"kick"', '["kick"]', "class b, field 'motion'"),
        ('"kick"', "1", "class b, field 'motion'"),
        ('"kick"', "9" * 5000, "not valid TOML"),
        ('"kick"', "0x" + "f" * 5000, "not valid TOML"),
    ],
)
def test_a_text_set_holds_texts(old: str, new: str, what: str, tmp_path: Path) -> None:
    classes = [ActionClass("a", "bow", "", ""), ActionClass("b", "kick", "", "")]
    good = 'version = 2\noracle = false\n[a]\nmotion = "bow"\n[b]\nmotion = "kick"\n'
    path = tmp_path / "t.toml"
    path.write_text(good)
    found = read_texts(str(path), {}, classes)
    assert (found.version, found.oracle, texts_of(found, "motion")) == (2, False, ["bow", "kick"])
    path.write_text(good.replace(old, new))
    with pytest.raises(UserError, match=re.escape(what)) as error:
        read_texts(str(path), {}, classes)
    assert str(path) in error.value.what


@pytest.mark.parametrize(
    "row", ["id = 1", "id = ['a']", 'id = "a"\nverb = 2', 'id = "a"\nnoun = {}']
)
def test_a_class_list_holds_texts(row: str, tmp_path: Path) -> None:
    path = tmp_path / "classes.toml"
    path.write_text(f'[[class]]\nname = "bow"\n{row}\n')
    with pytest.raises(UserError, match="needs an id and a name"):
        read_classes(path)
    path.write_text('[[class]]\nname = "bow"\nid = "a"\n')
    assert read_classes(path) == [ActionClass("a", "bow", "", "")]


# --- Sources: several files, a folder, names -------------------------------------------------


@pytest.fixture
def folder(tmp_path) -> Path:
    """Files of two data sets, as such folders come: of 6 and of 10 classes."""
    (tmp_path / "sem").mkdir()
    for name, data in {
        "lb_6.csv": by_index(OTHER_WORDS),
        "md_6.csv": by_index(MOVES, "idx,dcp"),
        "md_10.csv": by_index([*(f"long {m}" for m in MOVES), *LONGER], "idx,dcp"),
        "ad_10.csv": by_index([*(f"long {m}" for m in MOVES), *LONGER]),
        "notes.txt": b"neither",
        "feats.npy": b"\x93NUMPY",
    }.items():
        (tmp_path / "sem" / name).write_bytes(data)
    return tmp_path / "sem"


def short(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:8]


def longer_set(folder: Path) -> dict[str, str]:
    """A text set of ten classes, the first six of which are ours."""
    path = folder.parent / "texts-a.toml"
    path.write_text("".join(f'[A{i}]\nmotion = "m{i}"\n' for i in range(1, 11)))
    return {"a": str(path)}


def test_one_file_has_its_name_and_digest(folder) -> None:
    texts = read_texts(str(folder / "md_6.csv"), {}, CLASSES)
    assert texts.name == f"md_6.csv@{short(folder / 'md_6.csv')}"
    assert (texts.version, texts.oracle, texts.about) == (1, False, "motion by index")
    assert texts_of(texts, "name") == NAMES
    assert bare_name(texts.name) == "md_6.csv"


def test_two_files_of_one_name_are_two_sources(folder) -> None:
    first = read_texts(str(folder / "md_6.csv"), {}, CLASSES)
    (folder / "md_6.csv").write_bytes(by_index(reversed(MOVES), "idx,dcp"))
    second = read_texts(str(folder / "md_6.csv"), {}, CLASSES)
    assert first.name != second.name
    assert bare_name(first.name) == bare_name(second.name)
    assert first.digest(["motion"]) != second.digest(["motion"])


def test_a_files_own_names_take_the_place_of_the_data_sets(folder) -> None:
    assert texts_of(read_texts(str(folder / "lb_6.csv"), {}, CLASSES), "name") == OTHER_WORDS


def test_files_go_together(folder) -> None:
    both = f"{folder / 'lb_6.csv'}, {folder / 'md_6.csv'}"
    texts = read_texts(both, {}, CLASSES)
    assert (texts_of(texts, "name"), texts_of(texts, "motion")) == (OTHER_WORDS, MOVES)
    digests = [short(folder / name) for name in ("lb_6.csv", "md_6.csv")]
    assert texts.name == f"lb_6.csv@{digests[0]}+md_6.csv@{digests[1]}"
    assert bare_name(texts.name) == "lb_6.csv+md_6.csv"


def test_a_folder_gives_the_files_of_the_right_length(folder) -> None:
    texts = read_texts(str(folder), {}, CLASSES)
    assert bare_name(texts.name) == "lb_6.csv+md_6.csv"
    assert texts_of(texts, "motion") == MOVES


def test_a_folder_gives_longer_lists_for_what_is_missing(folder) -> None:
    texts = read_texts(str(folder), longer_set(folder), CLASSES)
    assert bare_name(texts.name) == "ad_10.csv+lb_6.csv+md_6.csv"
    assert texts_of(texts, "motion") == MOVES
    assert texts_of(texts, "description") == [f"long {m}" for m in MOVES]
    assert "description by index, first 6 of 10" in texts.about


def test_a_longer_list_of_other_classes_is_not_taken(folder) -> None:
    sets = longer_set(folder)
    Path(sets["a"]).write_text(Path(sets["a"]).read_text().replace("[A2]", "[A0]"))
    assert bare_name(read_texts(str(folder), sets, CLASSES).name) == "lb_6.csv+md_6.csv"
    with pytest.raises(UserError, match=r"ad_10.csv has 10 lines; this data set needs 6"):
        read_texts(str(folder / "ad_10.csv"), sets, CLASSES)


def test_a_field_said_by_the_user_is_part_of_the_name(folder) -> None:
    texts = read_texts(f"description={folder / 'md_6.csv'}", {}, CLASSES)
    assert texts_of(texts, "description") == MOVES
    assert "motion" not in texts.fields
    assert bare_name(texts.name) == "description=md_6.csv"


def test_a_sheet_said_by_the_user_is_part_of_the_name(folder) -> None:
    path = folder / "b.xlsx"
    path.write_bytes(book(One=table(NAMES), Two=table(OTHER_WORDS)))
    texts = read_texts(f"{path}:Two", {}, CLASSES)
    assert texts.name == f"b.xlsx:Two@{short(path)}"
    assert texts_of(texts, "name") == OTHER_WORDS


@pytest.mark.parametrize(
    ("source", "what", "hint"),
    [
        ("{0}/md_6.csv,{0}/md_6.csv", "hold the text field 'motion'", "--texts {0}/md_6.csv"),
        ("a,{0}/md_6.csv", "'a' stands for whole texts", "--texts names.csv,motions.csv"),
        ("{0}/md_6.csv,mine.toml", "'mine.toml' stands for whole texts", ""),
        ("{0}/md_6.csv,", "has a gap", ""),
        ("nowhere.csv", "no file nowhere.csv", ""),
        ("{0}/notes.txt", "notes.txt says which text field", "description={0}/notes.txt"),
        ("{0}/feats.npy", ".toml, .csv, .txt and .xlsx", ""),
        ("{0}/..", "no text files in", "--texts names.csv,motions.csv"),
        ("moton", "Unknown text set 'moton'", "Known: a"),
    ],
)
def test_sources_that_cannot_be_are_refused(folder, source, what, hint) -> None:
    with pytest.raises(UserError) as error:
        read_texts(source.format(folder), longer_set(folder), CLASSES)
    assert what in error.value.what
    assert hint.format(folder) in error.value.hint


def test_two_lists_of_one_length_and_field_in_a_folder_clash(folder) -> None:
    (folder / "x_label.txt").write_bytes(by_line(NAMES))
    with pytest.raises(UserError, match=r"lb_6.csv and .*x_label.txt hold the text field 'name'"):
        read_texts(str(folder), {}, CLASSES)


def test_a_field_that_is_not_there_says_what_to_type(folder) -> None:
    texts = read_texts(str(folder / "md_6.csv"), {}, CLASSES)
    with pytest.raises(UserError) as error:
        texts.check_fields(["motion", "description"])
    assert "md_6.csv" in error.value.what
    assert "It has: name, motion." in error.value.hint
    assert error.value.hint.endswith("Type: --text-fields motion")
    nameless = read_texts(str(folder / "md_6.csv"), {}, NAMELESS)
    with pytest.raises(UserError, match="'name' is empty for 0, 1") as error:
        nameless.check_fields(["name"])
    assert error.value.hint.endswith("Type: --text-fields motion")


def test_an_action_without_an_object_may_lack_a_noun_beside_other_fields() -> None:
    some = ClassTexts("s", 1, {"verb": {"0": "sit", "1": "throw"}, "noun": {"0": "", "1": "ball"}})
    assert some.check_fields(["verb", "noun"]) == ("verb", "noun")
    with pytest.raises(UserError, match="'noun' is empty for 0"):
        some.check_fields(["noun"])
    none = ClassTexts("s", 1, {"verb": {"0": "sit", "1": "throw"}, "noun": {"0": "", "1": ""}})
    with pytest.raises(UserError, match="'noun' is empty for 0, 1"):
        none.check_fields(["verb", "noun"])
    halt = ClassTexts("s", 1, {"verb": {"0": "", "1": "throw"}, "noun": {"0": "cup", "1": "ball"}})
    with pytest.raises(UserError, match="'verb' is empty for 0"):
        halt.check_fields(["verb", "noun"])


# --- The command line ------------------------------------------------------------------------

TOY = TESTS / "plugin_package" / "zsar_toy" / "data" / "classes.toml"
RUN = ("run", "toy-ridge", "--protocol", "toy-4-2", *TOY_ENCODERS)


def test_a_dry_run_plans_with_a_file(cli, tmp_path) -> None:
    path = tmp_path / "md_6.csv"
    path.write_bytes(by_index(MOVES, "idx,dcp"))
    words = (*RUN, "--text-fields", "motion", "--dry-run", "--json")
    plan = json.loads(cli(*words, "--texts", path).stdout)
    assert ["class texts", f"md_6.csv@{short(path)}", "named: motion by index"] in plan["choices"]
    ours = json.loads(cli(*words).stdout)
    assert plan["runs"][0]["run"] != ours["runs"][0]["run"]
    said = cli(*RUN, "--texts", path, "--dry-run", check=2)
    assert said.stdout == ""
    assert said.stderr.rstrip().endswith("Type: --text-fields motion")


def test_a_run_keeps_the_files_name_and_is_found_by_it(cli, tmp_path) -> None:
    names = [c.name for c in read_classes(TOY)]
    (tmp_path / "lb_6.csv").write_bytes(by_index(names))
    (tmp_path / "md_6.csv").write_bytes(by_index(MOVES, "idx,dcp"))
    words = ("--text-fields", "motion,name", "--set", "steps=3")
    done = cli.run("toy-ridge", "--texts", "lb_6.csv,md_6.csv", *words, "--json")
    folder = Path(json.loads(done.stdout)["runs"][0]["folder"])
    texts = json.loads((folder / "run.json").read_text())["texts"]
    digests = [short(tmp_path / name) for name in ("lb_6.csv", "md_6.csv")]
    assert texts["source"] == f"lb_6.csv@{digests[0]}+md_6.csv@{digests[1]}"
    assert texts["fields"] == ["motion", "name"]
    found = cli("compare", "--texts", "lb_6.csv+md_6.csv", "--json")
    (section,) = json.loads(found.stdout)["sections"]
    assert [row["texts"] for row in section["rows"]] == [texts["source"]]
    cli("compare", "--texts", "md_6.csv", check=2)


# --- The real files --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def semantics() -> zipfile.ZipFile:
    return zipfile.ZipFile(ARCHIVE)


def real_classes(name: str, count: int) -> list[ActionClass]:
    """A data set's own classes, or as many ids where it is not one of ours."""
    path = DATA / name / "classes.toml"
    return read_classes(path) if path.is_file() else NAMELESS_400[:count]


NAMELESS_400 = [ActionClass(str(i), "", "", "") for i in range(400)]


@real
@pytest.mark.parametrize(
    ("name", "dataset", "count", "field", "said"),
    [
        ("MSF-GZSSAR/sem_info/lb_60.csv", "ntu-60", 60, "name", ""),
        ("MSF-GZSSAR/sem_info/ad_60.csv", "ntu-60", 60, "description", ""),
        ("MSF-GZSSAR/sem_info/md_60.csv", "ntu-60", 60, "motion", ""),
        ("MSF-GZSSAR/sem_info/lb_120.csv", "ntu-120", 120, "name", ""),
        ("MSF-GZSSAR/sem_info/ad_120.csv", "ntu-120", 120, "description", ""),
        ("MSF-GZSSAR/sem_info/md_120.csv", "ntu-120", 120, "motion", ""),
        ("SA-DVAE/class_lists/ntu60.csv", "ntu-60", 60, "motion", "motion"),
        ("SA-DVAE/class_lists/ntu120.csv", "ntu-120", 120, "motion", "motion"),
        ("SA-DVAE/class_lists/pku51.csv", "pku-mmd", 51, "name", ""),
        ("SA-DVAE/class_lists/ntu60_llm.txt", "ntu-60", 60, "description", ""),
        ("SA-DVAE/class_lists/ntu120_llm.txt", "ntu-120", 120, "description", ""),
        ("Flora/semantics/pku51.csv", "pku-mmd", 51, "motion", "motion"),
        ("Flora/semantics/pku51_llm.txt", "pku-mmd", 51, "description", ""),
        ("PGFA/descriptions/ntu60_des.txt", "ntu-60", 60, "description", ""),
        ("PGFA/descriptions/ntu120_des.txt", "ntu-120", 120, "description", ""),
        ("PGFA/descriptions/pku_des.txt", "pku-mmd", 51, "description", ""),
        ("PGFA/descriptions/ntu_labelmap.txt", "ntu-120", 120, "name", ""),
        ("PGFA/descriptions/pku_labelmap.txt", "pku-mmd", 51, "name", ""),
        ("PGFA/descriptions/pku_ska_gpt4.txt", "pku-mmd", 51, "motion", "motion"),
        ("STAR/text/ntu120_label.txt", "ntu-120", 120, "name", ""),
    ],
)
def test_the_real_lists(semantics, name, dataset, count, field, said) -> None:
    data = semantics.read(name)
    file = parse_text_file(name, data, real_classes(dataset, count), field=said)
    lines = data.decode().split("\n")
    if name.endswith(".csv"):  # no real one has quotes
        lines = [line.partition(",")[2] for line in lines[1 : count + 1]]
    assert [*file.fields] == [field]
    assert texts_of(file, field) == [line.strip() for line in lines]
    assert (len(lines), file.rows, file.faults) == (count, count, {})


@real
@pytest.mark.parametrize("name", ["SA-DVAE/class_lists/ntu60.csv", "Flora/semantics/pku51.csv"])
def test_real_motions_in_a_column_of_labels_are_not_taken_for_names(semantics, name) -> None:
    dataset = "ntu-60" if "60" in name else "pku-mmd"
    with pytest.raises(DataError, match="class names in official order"):
        parse_text_file(name, semantics.read(name), real_classes(dataset, 60))


@real
def test_a_real_list_of_120_gives_its_first_60(semantics) -> None:
    name = "MSF-GZSSAR/sem_info/lb_120.csv"
    data, classes = semantics.read(name), real_classes("ntu-60", 60)
    file = parse_text_file(name, data, classes, longer=[120])
    assert file.rows == 120
    assert file.fields["name"]["A1"] == data.decode().split("\n")[1].partition(",")[2]
    assert list(file.fields["name"]) == [f"A{i}" for i in range(1, 61)]


@real
@pytest.mark.parametrize(
    ("dataset", "sheet", "count", "faults"),
    [
        ("kinetics-400", "Kinetic-skeletons", 400, set()),
        ("ntu-120", "NTU-RGB+D", 120, set()),
        ("nw-ucla", "NW-UCLA", 10, set()),
        ("utd-mhad", "UTD-MHAD", 27, set()),
        ("uwa3d", "UWA3DII", 30, {"name"}),  # two of its classes are called the same
    ],
)
def test_the_real_workbook(semantics, dataset, sheet, count, faults) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    data = semantics.read("PURLS/supplements/gpt3_desc.xlsx")
    file = parse_text_file("gpt3_desc.xlsx", data, real_classes(dataset, count))
    assert (file.sheet, file.rows, set(file.faults)) == (sheet, count, faults)
    assert {*file.fields, *file.faults} == set(FIELDS)
    rows = openpyxl.load_workbook(io.BytesIO(data))[sheet].iter_rows(min_row=2, values_only=True)
    columns = list(zip(*rows, strict=True))
    for field, column in zip(FIELDS, columns, strict=True):
        if field not in faults:
            assert texts_of(file, field) == [text.strip() for text in column]


@real
@pytest.mark.parametrize(("dataset", "count"), [("ntu-60", 60), ("ntu-120", 120)])
def test_the_real_folder(semantics, tmp_path, dataset, count) -> None:
    names = [n for n in semantics.namelist() if n.startswith("MSF-GZSSAR/sem_info/")]
    semantics.extractall(tmp_path, names)
    sets = {"a": str(DATA / "ntu-120" / "texts-a.toml")}
    where = tmp_path / "MSF-GZSSAR" / "sem_info"
    texts = read_texts(str(where), sets, real_classes(dataset, count))
    assert bare_name(texts.name) == f"ad_{count}.csv+lb_{count}.csv+md_{count}.csv"
    for field in ("name", "description", "motion"):
        assert len(set(texts_of(texts, field))) == count
