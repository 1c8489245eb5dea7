"""Targets: class texts and class lists, protocols."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

from benchmarks.fuzz.mutate import Seed
from benchmarks.fuzz.registry import Fuzzed, Make, from_file, inside, target, zipped

_NAMES = ("wave a hand", "bow", "kick the ball")


def _classes() -> Any:
    from zsar_bench.common.classes import ActionClass

    return [ActionClass(f"A{n}", name, "", "") for n, name in enumerate(_NAMES, 1)]


def _texts(kind: str, name: str, *seeds: Seed) -> Make:
    """A file of class texts in a layout of others."""

    def make(folder: Path) -> Fuzzed:
        from zsar_bench.data.texts.text_files import parse_text_file

        classes = _classes()
        return Fuzzed(seeds, lambda data: parse_text_file(name, data, classes, [5]))

    make.__name__ = f"texts_{kind}"
    return make


_MOVES = [f"{name}, {n} times" for n, name in enumerate(_NAMES)]
_LISTED = "idx,label\n" + "".join(f"{n},{name}\n" for n, name in enumerate(_NAMES))
_QUOTED = "idx,dcp\n" + "".join(f'{n},"{text}"\r\n' for n, text in enumerate(_MOVES, 1))
_SPACE = "http://schemas.openxmlformats.org"
_MAIN = f'xmlns="{_SPACE}/spreadsheetml/2006/main"'
_OFFICE = f"{_SPACE}/officeDocument/2006/relationships"
_PACKAGE = f'xmlns="{_SPACE}/package/2006/relationships"'
_BOOK = {
    "_rels/.rels": f'<Relationships {_PACKAGE}><Relationship Id="rId1" '
    f'Type="{_OFFICE}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
    "xl/workbook.xml": f'<workbook {_MAIN} xmlns:r="{_OFFICE}"><sheets>'
    '<sheet name="Six" sheetId="1" r:id="rId1"/></sheets></workbook>',
    "xl/_rels/workbook.xml.rels": f"<Relationships {_PACKAGE}>"
    f'<Relationship Id="rId1" Type="{_OFFICE}/worksheet" Target="worksheets/sheet1.xml"/>'
    f'<Relationship Id="rId2" Type="{_OFFICE}/sharedStrings" Target="sharedStrings.xml"/>'
    "</Relationships>",
    "xl/sharedStrings.xml": f"<sst {_MAIN}><si><t>Action labels</t></si><si><t>Head</t></si>"
    + "".join(f"<si><t>{name}</t></si>" for name in _NAMES)
    + "</sst>",
    "xl/worksheets/sheet1.xml": f"<worksheet {_MAIN}><sheetData>"
    '<row r="1"><c r="A1" t="s"><v>0</v></c><c r="B1" t="s"><v>1</v></c></row>'
    + "".join(
        f'<row r="{n}"><c r="A{n}" t="s"><v>{n}</v></c>'
        f'<c r="B{n}" t="inlineStr"><is><t>up &amp; down {n}</t></is></c></row>'
        for n in (2, 3, 4)
    )
    + "</sheetData></worksheet>",
}
_PARTS = {name: text.encode() for name, text in _BOOK.items()}
target(_texts("csv", "m.csv", Seed(_LISTED.encode()), Seed(_QUOTED.encode())))
target(_texts("lines", "x_des.txt", Seed("\n".join(_MOVES).encode())))


@target
def texts_xlsx(folder: Path) -> Fuzzed:
    """A workbook, as its worker reads it; and what that has found, as the parent does."""
    from zsar_bench.data.texts.text_files import Wanted, of_sheets
    from zsar_bench.data.texts.workbook import checked
    from zsar_bench.worker.workbook_job import sheets_of

    seeds = [Seed(zipped(_PARTS)), Seed(zipped(_PARTS, zipfile.ZIP_DEFLATED))]
    seeds += [inside(_PARTS, name) for name in _PARTS]
    wanted = Wanted("b.xlsx", _classes(), [5])

    def read(path: Path) -> None:
        of_sheets(wanted, b"", checked({"sheets": sheets_of(path, "b.xlsx")}), "")

    return Fuzzed(seeds, from_file(folder / "b.xlsx", read), confined=True)


@target
def texts_toml(folder: Path) -> Fuzzed:
    """A text set of one's own."""
    from zsar_bench.data.texts.texts import read_texts

    classes = _classes()
    made = 'version = 1\nauthor = "me"\n' + "".join(
        f'[A{n}]\nmotion = "{text}"\nhead = """still {n}"""\n' for n, text in enumerate(_MOVES, 1)
    )
    read = from_file(folder / "t.toml", lambda path: read_texts(str(path), {}, classes))
    return Fuzzed([Seed(made.encode())], read)


_CLASSES = b"""[[class]]
id = "A1"
name = "rise"
[[class]]
id = "A2"
name = "sink"
verb = "sink"
noun = ""
"""


@target
def classes_toml(folder: Path) -> Fuzzed:
    """The class list of a data set."""
    from zsar_bench.common.classes import read_classes

    return Fuzzed([Seed(_CLASSES)], from_file(folder / "classes.toml", read_classes))


_HEAD = 'id = "made"\ntitle = "Made 2/1"\nsource = "this file"\naliases = ["m"]\n'
_SPLIT = f'{_HEAD}dataset = "made"\nfamily = "tests"\nseen = ["A1", "A3"]\nunseen = ["A2"]\n'
_PROTOCOLS = (
    _SPLIT + '[samples]\nrule = "performer-cross-fit"\ngroups = [["1"], ["2"]]\ntest_clips = 8\n',
    _SPLIT + '[samples]\nrule = "xsub"\ntrain = ["1", "3"]\n[gzsl]\npseudo_unseen = ["A1"]\n'
    '[samples.stand-in]\ntrain = ["1"]\ncolumn = "camera"\n',
    f'{_HEAD}dataset = "made"\nfamily = "tests"\nfolds = [["A1"], ["A2"], ["A3"]]\n'
    '[samples]\nrule = "xset"\ntrain = ["1"]\n',
    f'{_HEAD}[average]\nof = ["one", "two"]\n',
)


@target
def protocol_toml(folder: Path) -> Fuzzed:
    """A protocol, or an average of some; with the data set's classes, and without."""
    from zsar_bench.common.classes import read_toml
    from zsar_bench.data.protocols.files import group_of, is_group, protocol_of

    classes = _classes()

    def read(path: Path) -> None:
        data = read_toml(path)
        if is_group(data):
            group_of(data, path, ["one", "two"])
            return
        made = protocol_of(data, path, classes)
        assert made.digest
        if not made.folds:  # those need to know all classes
            protocol_of(data, path, None)

    return Fuzzed(
        [Seed(text.encode()) for text in _PROTOCOLS], from_file(folder / "made.toml", read)
    )
