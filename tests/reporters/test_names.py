"""Names of strangers: what may become a path, and what any text does to a terminal or a page."""

from __future__ import annotations

import ast
import io
import json
import re
import tomllib
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown import Markdown

from kit.paths import ROOT
from zsar_bench.cli import common
from zsar_bench.common import names
from zsar_bench.comparison.sections import compare
from zsar_bench.data.protocols.protocol import folder_name
from zsar_bench.errors import UserError
from zsar_bench.records.schema import Record, parse_record
from zsar_bench.registry import Registry
from zsar_bench.reporters import json as json_reporter
from zsar_bench.reporters import markdown, table
from zsar_bench.specs import DatasetSpec, MethodSpec, MetricSpec

REFERENCE = ROOT / "results" / "reference" / "runs"

NASTY = [
    *("", ".", "..", "../x", "a/b", "a\\b", "/etc/passwd", ".hidden", "-rf", "~", "con:", "a b"),
    *("a\x00b", "a\nb", "\x1b[2J", "\x1b]0;title\x07", "\u202eevil", "a\u200bb", "\ud800", "é"),
    *("[bold]x[/]", "[link=http://x]y[/link]", "<script>alert(1)</script>", "a|b", "`rm`"),
    *("![x](y)", "[x](javascript:alert(1))", "{: onclick=x}", "$x$", "&lt;", "A", "x" * 65),
]
#: Texts out of everything that steers something somewhere, and all other letters.
SIGNS = "\x1b\x07\x00\r\n\t\u202e\u2066\u200b\u2028\ud800[]()<>|`*_~$!{}#+-.:/@&\\\"'=; aA1wé"
TEXTS = st.text(st.sampled_from(SIGNS) | st.characters(), max_size=40)


# --- What becomes a path ------------------------------------------------------------------------


@given(TEXTS)
def test_a_name_is_one_part_of_a_path_that_stays_where_it_is(text: str) -> None:
    for pattern in (names.NAME, names.PLAIN, names.WORD, names.RUN_ID, names.RULE):
        if pattern.fullmatch(text):
            assert Path("/root", text).parent == Path("/root")
            assert (Path("/root") / text).resolve().parent == Path("/root")
            assert text.isascii()
            assert text.isprintable()
            assert not set(text) & set("/\\<>|`*~$!{}[]()&\"' ")


@given(st.from_regex(names.PROTOCOL, fullmatch=True) | TEXTS)
def test_a_protocols_folder_is_one_part_too(protocol: str) -> None:
    try:
        folder = names.protocol_folder(protocol)
    except UserError:
        return
    assert names.PROTOCOL.fullmatch(protocol)
    assert folder == folder_name(protocol)
    assert Path("/root", folder).resolve().parent == Path("/root")
    assert len(folder.encode()) <= 255


@pytest.mark.parametrize("name", NASTY)
def test_no_nasty_name_is_registered(name: str) -> None:
    registry = Registry()
    common_facts = {"target": "a.b:C", "summary": "x"}
    with pytest.raises(ValueError, match="must match"):
        registry.metric(MetricSpec(name=name, **common_facts))
    for more in ({"text_fields": (f"{name}-",)}, {"seconds": {name: 1.0}}):
        with pytest.raises(ValueError, match="must match"):
            registry.method(MethodSpec(name="m", params="a.b:P", **common_facts, **more))
    where = Path("x")
    facts = {"target": "a.b:C", "title": "t", "classes": where, "layout": where}
    for more in ({"texts": {name: where}}, {"parts": (name,)}):
        with pytest.raises(ValueError, match="must match"):
            registry.dataset(DatasetSpec(name="d", **facts, **more))
    assert not any(registry.specs.values())


@pytest.mark.parametrize("text", ["\x1b[31m", "a\u202eb", "a\x07", "\ud800"])
def test_texts_of_specs_can_be_shown(text: str) -> None:
    with pytest.raises(ValueError, match="'summary' holds unprintable characters"):
        Registry().metric(MetricSpec(name="m", target="a.b:C", summary=text))
    Registry().metric(MetricSpec(name="m", target="a.b:C", summary="zwei\n  Zeilen,\tgrün"))


def test_a_plugin_with_such_a_name_is_a_broken_row(cli: Any, tmp_path: Path) -> None:
    plugin = tmp_path / "nasty.py"
    plugin.write_text(
        "from zsar_bench.hookspecs import hookimpl\n"
        "from zsar_bench.specs import MetricSpec\n"
        "api = 1\n"
        "@hookimpl\n"
        "def register_metrics(registry):\n"
        "    registry.metric(MetricSpec(name='../\\x1b[31mx', target='nasty:f', summary='s'))\n"
    )
    done = cli("list", "plugins", "--plugin", plugin)
    assert "\x1b" not in done.stdout
    [row] = [r for r in json.loads(cli("list", "plugins", "--plugin", plugin, "--json").stdout)
             if r["name"] == "nasty"]  # fmt: skip
    assert row["status"] == "broken"
    assert "must match" in json.dumps(row)


def test_names_that_are_there_are_all_allowed() -> None:
    for path in sorted((ROOT / "protocols").glob("*.toml")):
        assert names.PROTOCOL.fullmatch(path.stem)
    for path in sorted((ROOT / "plugins/zsar_datasets/data").glob("*/classes.toml")):
        for row in tomllib.loads(path.read_text("utf-8"))["class"]:
            assert names.PLAIN.fullmatch(row["id"]), (path, row)
    for said in ("stand-in/synse-55-5/random:5@3", "kinect20/folds:3"):
        assert names.PROTOCOL.fullmatch(said)


# --- What a record may hold ---------------------------------------------------------------------


def a_record() -> dict[str, Any]:
    path = next(iter(sorted(REFERENCE.glob("purls-utd-mhad-22-5/eszsl/*/run.json"))))
    return json.loads(path.read_bytes())


PLACES = [
    *("run_id", "protocol.id", "protocol.dataset", "protocol.stand_in_for", "protocol.family_of"),
    *("protocol.rule", "method.name", "encoder.name", "texts.encoder", "texts.control"),
    "selection",
]


@pytest.mark.parametrize("place", PLACES)
@given(name=st.sampled_from([n for n in NASTY if n]) | TEXTS.filter(bool))
def test_no_record_with_a_nasty_name_is_read(place: str, name: str) -> None:
    record = a_record()
    *way, last = place.split(".")
    part = record[way[0]] if way else record
    part[last] = name
    patterns = {"run_id": names.RUN_ID, "id": names.PROTOCOL, "family_of": names.PROTOCOL}
    patterns |= {"rule": names.RULE, "selection": names.RULE}
    if patterns.get(last, names.NAME).fullmatch(name):
        return
    # What is not even JSON is refused before; surrogates are, too.
    with pytest.raises(ValueError, match=r"no such name|the file|surrogate|valid string|unicode"):
        parse_record(json.dumps(record).encode())


@pytest.mark.parametrize("name", ["../x", "a b", "\x1b[2J", "<b>"])
def test_classes_subjects_and_fields_are_names_too(name: str) -> None:
    record = a_record()
    record["protocol"]["unseen"][0] = name
    with pytest.raises(ValueError, match="a class: "):
        parse_record(json.dumps(record).encode())
    record = a_record()
    first = next(iter(record["metrics"]["cells"]))
    record["metrics"]["cells"][first][name] = [1.0, 1]
    with pytest.raises(ValueError, match="a subject: "):
        parse_record(json.dumps(record).encode())
    for place, key in (("texts", "fields"), ("metrics", "plugins")):
        record = a_record()
        record[place][key] = [name] if key == "fields" else {name: 1.0}
        with pytest.raises(ValueError, match="no such name"):
            parse_record(json.dumps(record).encode())


# --- What is shown ------------------------------------------------------------------------------


@given(TEXTS)
def test_plain_text_steers_nothing_and_loses_no_letter(text: str) -> None:
    shown = names.plain(text)
    assert shown.isprintable()
    assert len(shown) == len(text)
    assert all(a == b or b == " " for a, b in zip(text, shown, strict=True))


@given(TEXTS)
def test_a_console_is_steered_by_rich_alone(text: str) -> None:
    import rich.table
    from rich.text import Text

    out = io.StringIO()
    console = common.console()
    console.file = out
    console.print(text, markup=False)
    console.print(Text(text, style="bold"))
    grid = rich.table.Table(title=Text(text))
    grid.add_column("x")
    grid.add_row(Text(text))
    console.print(grid)
    assert out.getvalue().replace("\n", "").replace("\t", "").isprintable()


def test_a_console_still_has_colours() -> None:
    from rich.text import Text

    out = io.StringIO()
    console = type(common.console())(file=out, force_terminal=True, color_system="standard")
    console.print(Text("a\x1b[31mb", style="bold red"))
    assert out.getvalue() == "\x1b[1;31ma[31mb\x1b[0m\n"


class _Page(HTMLParser):
    """Tags with their attributes, and all text."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        assert not attrs, attrs

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def rendered(source: str) -> _Page:
    """A page as the documentation's site renders it, with attributes allowed as an extra."""
    page = _Page()
    page.feed(Markdown(extensions=["tables", "attr_list", "fenced_code"]).convert(source))
    page.close()
    return page


@given(TEXTS)
@example("__0__")
@example("a__b __c__")
def test_markdown_shows_a_text_as_it_is(text: str) -> None:
    wanted = " ".join(names.plain(text).split())
    shown = names.markdown(text)
    page = rendered(f"| name | next |\n| --- | --- |\n| {shown} | end |\n")
    cells = ["table", "thead", "tr", "th", "th", "tbody", "tr", "td", "td"]
    assert page.tags == cells
    assert " ".join("".join(page.words).split()) == " ".join(f"name next {wanted} end".split())
    line = rendered(f"### {shown}x\n")
    assert line.tags == ["h3"]


@given(TEXTS)
def test_markdown_makes_no_links_on_github(text: str) -> None:
    """GitHub makes links of bare addresses, which the site's renderer does not."""
    shown = names.markdown(text)
    assert "://" not in shown
    assert not re.search(r"www\.", shown, re.I)
    assert not re.search(r"(?<![A-Za-z0-9_])@[A-Za-z0-9_]|@[\w-]+\.", shown, re.ASCII)
    assert "<" not in shown


def nasty_comparison() -> dict[str, Any]:
    """A comparison of a record whose every free text is nasty."""
    record = a_record()
    for place in ("method", "encoder", "texts"):
        record[place]["plugin"] = "\x1b[31m<b>|\u202e"
    record["method"]["profile"] = "laptop (\x1b]0;x\x07|<i>\n# x)"
    record["texts"]["source"] = "[x](javascript:y)\x1b[2J.csv@12345678"
    record["method"]["science"]["prompt"] = "a\nb\u202e|<u>"
    record["environment"]["platform"] = "\x9b31m"
    records: list[Record] = [parse_record(json.dumps(record).encode())]
    record["method"]["science"]["prompt"] = "another|<u>\x1b"
    record["run_id"] = "0" * 16
    records.append(parse_record(json.dumps(record).encode()))
    return compare(records)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, one in value.items():
            yield key
            yield from _texts(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _texts(one)
    elif isinstance(value, str):
        yield value


def test_reporters_get_names_that_are_safe() -> None:
    """What docs/results.md promises to whoever writes one."""
    comparison = nasty_comparison()
    told = list(_texts(comparison))
    assert any("javascript" in text for text in told)
    assert all(text.isprintable() for text in told)
    [section] = comparison["sections"]
    assert names.PROTOCOL.fullmatch(section["protocol"])
    for row in section["rows"]:
        for name in (row["method"], row["text_encoder"], row["encoder"]):
            assert names.NAME.fullmatch(name)


def test_our_reporters_show_nothing_that_acts() -> None:
    comparison = nasty_comparison()
    drawn = table.report(comparison, width=200, color=False)
    assert drawn.replace("\n", "").isprintable()
    json_reporter.report(comparison, width=1, color=False).encode("ascii")
    page = rendered(markdown.report(comparison, width=80, color=False))
    assert not set(page.tags) - {
        *["h3", "table", "thead", "tbody", "tr", "th", "td", "p", "br", "strong"]
    }
    assert any("javascript:y" in word for word in page.words)


# --- Loads that could run code ------------------------------------------------------------------

#: Module -> what of it could run code, or read a file that could; each with the reason why not.
ALLOWED = {
    ("plugins/zsar_encoders/_open_clip_weights.py", "torch.load"): "weights_only=True",
    (
        "plugins/zsar_datasets/_safe_pickle.py",
        "import pickle",
    ): "finds stand-ins only",
    ("zsar_bench/data/clips/store.py", "numpy.load"): "allow_pickle=False",
    ("zsar_bench/worker/model_jobs.py", "numpy.load"): "allow_pickle=False",
    ("zsar_bench/runs/proof.py", "numpy.load"): "allow_pickle=False",
}
MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal",
           "yaml", "jsonpickle"}  # fmt: skip
CALLS = {"torch.load", "numpy.load", "pandas.read_pickle", "torch.hub.load", "scipy.io.loadmat",
         "os.system", "os.popen", "torch.jit.load", "torch.package.PackageImporter"}  # fmt: skip
BUILTINS = {"eval", "exec", "compile", "__import__"}
SHORT = {"np": "numpy", "pd": "pandas"}


def _dotted(node: ast.AST) -> str:
    if isinstance(node, ast.Name):
        return SHORT.get(node.id, node.id)
    return f"{_dotted(node.value)}.{node.attr}" if isinstance(node, ast.Attribute) else ""


def dangers(tree: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """What in a module could run code that somebody else has written."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.partition(".")[0] in MODULES:
                    yield f"import {alias.name}", node
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if module.partition(".")[0] in MODULES:
                yield f"import {module}", node
            for alias in node.names:
                if f"{module}.{alias.name}" in CALLS:
                    yield f"from {module} import {alias.name}", node
        elif isinstance(node, ast.Call):
            name = _dotted(node.func)
            if name in CALLS or name in BUILTINS:
                yield name, node
            if any(k.arg == "shell" for k in node.keywords):
                yield "shell=", node


def _says(node: ast.AST, keyword: str, value: bool) -> bool:
    assert isinstance(node, ast.Call)
    return any(
        k.arg == keyword and isinstance(k.value, ast.Constant) and k.value.value is value
        for k in node.keywords
    )


def test_the_search_finds_what_it_is_for() -> None:
    source = (
        "import pickle, yaml.loader\nfrom torch import load\nimport numpy as np\n"
        "np.load('x')\ntorch.load(f)\neval('1')\nsubprocess.run('x', shell=True)\n"
    )
    found = [name for name, _ in dangers(ast.parse(source))]
    assert sorted(found) == sorted(
        ["import pickle", "import yaml.loader", "from torch import load", "numpy.load",
         "torch.load", "eval", "shell="]
    )  # fmt: skip


def test_nothing_is_loaded_that_could_run_code() -> None:
    found: set[tuple[str, str]] = set()
    for folder in ("zsar_bench", "plugins", "examples", "protocols", "docs"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            where = path.relative_to(ROOT).as_posix()
            for name, node in dangers(ast.parse(path.read_text("utf-8"))):
                found.add((where, name))
                if name == "torch.load":
                    assert _says(node, "weights_only", True), where
                elif name == "numpy.load":
                    assert _says(node, "allow_pickle", False), where
    assert found == set(ALLOWED)


def test_the_pickle_module_is_used_for_one_unpickler_that_finds_stand_ins() -> None:
    tree = ast.parse((ROOT / "plugins/zsar_datasets/_safe_pickle.py").read_text("utf-8"))
    used = [n for n in ast.walk(tree) if isinstance(n, ast.Attribute)]
    assert [_dotted(n) for n in used if _dotted(n).startswith("pickle.")] == ["pickle.Unpickler"]
    (unpickler,) = [
        n
        for n in ast.walk(tree)
        if isinstance(n, ast.ClassDef) and "pickle.Unpickler" in map(_dotted, n.bases)
    ]
    own = {n.name for n in unpickler.body if isinstance(n, ast.FunctionDef)}
    assert own == {"find_class", "persistent_load"}
