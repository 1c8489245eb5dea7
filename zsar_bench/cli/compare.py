"""``zsar-bench compare``: stored runs as tables."""

from __future__ import annotations

from typing import Annotated

import typer

from zsar_bench.cli.common import JsonOption, PluginOption, ResultsOption, console, error_console
from zsar_bench.common.files import DEFAULT_RESULTS


def compare(
    protocol: Annotated[
        str, typer.Option("--protocol", metavar="ID", help="Only this protocol; default: all.")
    ] = "",
    method: Annotated[
        list[str] | None, typer.Option("--method", metavar="NAME", help="Only this (repeatable).")
    ] = None,
    texts: Annotated[
        list[str] | None, typer.Option("--texts", metavar="SET", help="Only this (repeatable).")
    ] = None,
    selection: Annotated[
        str,
        typer.Option(
            metavar="RULE", help="Only this rule; all: what each method gains by each rule."
        ),
    ] = "",
    results: ResultsOption = DEFAULT_RESULTS,
    format: Annotated[
        str, typer.Option("--format", metavar="REPORTER", help="table, markdown, json, ...")
    ] = "table",
    published: Annotated[bool, typer.Option(help="Show published numbers too.")] = True,
    plugin: PluginOption = None,
    json: JsonOption = False,
) -> None:
    """Compare stored runs: one section a protocol, best first, with significance."""
    from zsar_bench.api.results import ALL, load_results
    from zsar_bench.api.results import compare as compare_runs
    from zsar_bench.catalogue.catalogue import load

    catalogue = load(plugin or ())
    reporter = "json" if json else format
    catalogue.find("reporters", reporter)  # refused before anything is read
    damaged: list[str] = []
    runs = load_results(
        results,
        protocol=protocol,
        method=method or (),
        text_set=texts or (),
        selection=selection,
        plugins=plugin or (),
        on_damage=damaged.append,
    )
    for message in damaged:
        error_console().print(f"Left out: {message}", markup=False, soft_wrap=True)
    comparison = compare_runs(
        runs, published=published, rules=selection == ALL, catalogue=catalogue
    )
    if selection == ALL and not comparison.data["rules"]:
        error_console().print("No method has runs under two rules: nothing to compare.")
    out = console()
    typer.echo(comparison.draw(reporter, out.width, out.is_terminal), nl=False)
    if damaged:
        raise typer.Exit(1)
