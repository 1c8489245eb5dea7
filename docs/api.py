"""Write api.md: every public name of ``zsar_bench``, from its docstring.

    python docs/api.py

The examples at the top are run by ``tests/docs/test_api_page.py``, in their order.
"""

from __future__ import annotations

from pathlib import Path

import griffe

HERE = Path(__file__).resolve().parent
INTRO = """# Python

<!-- Made by docs/api.py. -->

Everything that a command does is a call first. The command line parses, calls and draws; a script
or a notebook gets typed objects. Nothing is printed; long calls take `progress=True`, which shows
a live table in a terminal or notebook.

```python
import zsar_bench as zb

runs = zb.run(
    ["eszsl", "prototypes", "chance"],
    protocol="stand-in/synse-55-5",  # synthetic clips: works on a fresh machine
    seeds=[0],  # or range(5), or "0-4"
    params={"st-gcn.max_steps": 20},  # leave this out for numbers that mean something
)
table = zb.compare(runs)
print(table)
best = table.sections[0].rows[0]
best.method, best.top1, best.interval
```

A run is a folder; the object reads it when it is asked.

```python
run = runs[0]
run.record.metrics.top1, run.record.metrics.mean_class  # fractions
found = run.predictions()  # N clips, K candidates
found.scores.shape == (len(found.ids), len(found.candidates))
found.scores.argmax(axis=1) == found.labels
```

Results of other people, such as the reference runs of this repository, are loaded the same way,
and anybody's numbers can be verified.

```python
reference = zb.load_results("results/reference", protocol="kinect20", method=["eszsl", "tdsm"])
zb.compare(reference).to_markdown()
zb.verify("results")[0].status  # every number is computed again from the stored scores
```

What there is:

```python
[row.name for row in zb.list_methods() if row.setting == "inductive"]
zb.protocol("synse-55-5").unseen
zb.describe("tdsm").parameters[0]
zb.doctor().next  # the next command to type
```

What a user can get wrong is a `zb.UserError` with `what` and `hint`; plugin code that fails is a
`zb.RunFailed`.

```python
try:
    zb.protocol("synse-55-6")
except zb.UserError as error:
    print(error.what, error.hint)
```
"""
#: Heading -> module -> names.
PAGE: dict[str, dict[str, tuple[str, ...]]] = {
    "Runs": {"api.running": ("run",), "api.tuning": ("tune",)},
    "Results": {
        "api.results": (
            "load_results",
            "compare",
            "verify",
            "import_results",
            "clean_results",
            "score_file",
            "score_template",
        )
    },
    "What there is": {
        "api.listing": (
            *("list_methods", "list_skeleton_encoders", "list_text_encoders", "list_datasets"),
            *("list_protocols", "list_metrics", "list_reporters", "list_published"),
            *("list_plugins", "protocol", "describe"),
        ),
        "api.doctor": ("doctor",),
    },
    "Data and features": {
        "api.data": ("import_data", "list_data", "verify_data", "remove_data"),
        "api.features": ("export_features", "list_features"),
    },
    "Objects": {
        "records.run": ("Run", "Predictions"),
        "reporters.comparison": ("Comparison", "Section", "Row", "Interval"),
        "api.running": ("Observer",),
        "api.tuning": ("Study", "Trial"),
        "api.listing": (
            *("MethodRow", "PluginRow", "DatasetRow", "ProtocolRow", "PluginStatus"),
            "Description",
        ),
        "api.data": ("Imported", "Stored", "Verified"),
        "api.features": ("KeptFeatures",),
        "api.doctor": ("Diagnosis", "Check"),
        "api.results": ("Cleaned",),
        "verification.transfer": ("Verdict",),
    },
    "Errors": {
        "errors": ("UserError", "DataError", "StorageError", "RunFailed"),
        "api.requests": ("SyntheticData",),
    },
}


def page() -> str:
    """The text of api.md."""
    package = griffe.load(
        "zsar_bench",
        search_paths=[str(HERE.parent)],
        docstring_parser="google",
        docstring_options={"returns_multiple_items": False},
        try_relative_path=False,
    )
    parts = [INTRO]
    for heading, homes in PAGE.items():
        parts.append(f"## {heading}\n")
        for module, names in homes.items():
            parts += [entry(package[f"{module}.{name}"], name) for name in names]
    return "\n".join(parts)


def entry(thing: griffe.Object, name: str) -> str:
    """One public name: signature, then what its docstring says."""
    lines = [f"### {name}\n", f"```text\n{signature(thing, name)}\n```\n"]
    lines += sections(thing)
    if isinstance(thing, griffe.Class):
        for member in thing.members.values():
            if isinstance(member, griffe.Function) and not member.name.startswith("_"):
                lines.append(f"`{signature(member, member.name, ', ')}`\n")
                lines += sections(member)
            elif isinstance(member, griffe.Attribute) and "property" in member.labels:
                lines.append(f"`{member.name}: {member.annotation}`\n")
                lines += sections(member)
    return "\n".join(lines)


def signature(thing: griffe.Object, name: str, between: str = "") -> str:
    """``name(arguments) -> result``, an argument a line where ``between`` is empty."""
    parameters = getattr(thing, "parameters", [])
    shown = []
    star = False
    for p in parameters:
        if p.name == "self":
            continue
        kind = p.kind.name if p.kind else ""
        prefix = {"var_positional": "*", "var_keyword": "**"}.get(kind, "")
        if kind == "keyword_only" and not star:
            shown.append("*")
            star = True
        star = star or kind == "var_positional"
        annotation = f": {p.annotation}" if p.annotation is not None else ""
        default = f" = {p.default}" if p.default is not None and not prefix else ""
        shown.append(f"{prefix}{p.name}{annotation}{default}")
    result = f" -> {thing.returns}" if getattr(thing, "returns", None) is not None else ""
    if between or len(shown) < 2:
        return f"{name}({(between or ', ').join(shown)}){result}"
    return f"{name}(\n" + "".join(f"    {text},\n" for text in shown) + f"){result}"


def sections(thing: griffe.Object) -> list[str]:
    """A docstring in Markdown."""
    lines: list[str] = []
    if thing.docstring is None:
        return lines
    for section in thing.docstring.parsed:
        if section.kind is griffe.DocstringSectionKind.text:
            lines.append(section.value.replace("``", "`") + "\n")
            continue
        lines.append(f"*{section.kind.value.capitalize()}*\n")
        for item in section.value:
            label = getattr(item, "name", "") or str(getattr(item, "annotation", "") or "")
            words = " ".join(item.description.replace("``", "`").split())
            lines.append(f"- `{label}`: {words}" if label else f"- {words}")
        lines.append("")
    return lines


if __name__ == "__main__":
    (HERE / "api.md").write_text(page(), encoding="utf-8")
