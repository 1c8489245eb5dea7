"""``zsar-bench doctor``: what is here, what is missing, what to type next."""

from __future__ import annotations

import platform
import shutil
from typing import Any

import typer

from zsar_bench.cli.common import JsonOption, PluginOption, console, print_json


def doctor(plugin: PluginOption = None, json: JsonOption = False) -> None:
    """Check this machine and this installation; ends with the next thing to type."""
    from zsar_bench.catalogue import load

    catalogue = load(plugin or (), refresh=True)
    checks, next_step = examine(catalogue)
    if json:
        print_json({"checks": checks, "next": next_step})
    else:
        marks = {"ok": "[green]ok  [/]", "note": "[yellow]note[/]", "bad": "[red]bad [/]"}
        out = console()
        for check in checks:
            out.print(marks[check["state"]], end=" ")
            out.print(f"{check['what']}: {check['says']}", markup=False, soft_wrap=True)
        out.print("\nNext, type:", style="bold")
        out.print(f"  {next_step}", markup=False, soft_wrap=True)
    if any(check["state"] == "bad" for check in checks):
        raise typer.Exit(1)


def examine(catalogue: Any) -> tuple[list[dict[str, str]], str]:
    """All checks (what, state ok/note/bad, says), and the next command."""
    import os

    from zsar_bench import __version__
    from zsar_bench.datasets import prepared
    from zsar_bench.environment import cores
    from zsar_bench.paths import home, make_folder
    from zsar_bench.sandbox import CONFINEMENT

    checks: list[dict[str, str]] = []

    def say(what: str, state: str, says: str) -> None:
        checks.append({"what": what, "state": state, "says": says})

    say("zsar-bench", "ok", f"{__version__}, Python {platform.python_version()}")
    machine = catalogue.machine
    if machine["torch"]:
        seen = (
            machine["device"]
            if machine["cuda"]
            else "no CUDA device; profile laptop is the default"
        )
        say("torch", "ok", f"{machine['torch']}, {seen}")
    else:
        say("torch", "bad", f"cannot be imported: {machine.get('error', '')}")
    say("processor", "ok", f"{cores()} cores")
    folder = make_folder(home())
    free = shutil.disk_usage(folder).free / 1e9
    writable = os.access(folder, os.W_OK)
    state = "bad" if not writable else "note" if free < 5 else "ok"
    says = f"{folder}, {free:.0f} GB free" if writable else f"{folder} is not writable"
    say("store", state, says)
    say(
        "confinement",
        "note",
        f"{CONFINEMENT}: workers are separate processes with a clean environment",
    )
    broken = [row for row in catalogue.data["plugins"] if row["status"] != "ok"]
    for row in broken:
        say(f"plugin {row['name']}", "bad", "; ".join(row["errors"]))
    if not broken:
        say("plugins", "ok", ", ".join(row["name"] for row in catalogue.data["plugins"]))
    imported = prepared()
    for entry in catalogue.entries("datasets"):
        if entry.name in imported:
            say(f"data set {entry.name}", "ok", "imported")
        else:
            say(
                f"data set {entry.name}",
                "note",
                f"not imported. {' '.join(entry.spec['how_to_get'].split())}",
            )
    return checks, _next(catalogue, imported, broken)


def _next(catalogue: Any, imported: list[str], broken: list[Any]) -> str:
    from zsar_bench.protocol import load_protocol, protocol_files

    if broken:
        return "zsar-bench list plugins"
    protocols = [load_protocol(p, None, catalogue) for p in protocol_files(catalogue).values()]
    ready = [p for p in protocols if p.dataset in imported]
    if ready:
        methods = " ".join(catalogue.names("methods"))
        best = max(ready, key=lambda p: len(p.seen))
        return f"zsar-bench run {methods} --protocol {best.id}"
    if protocols:
        return f"zsar-bench data import {protocols[0].dataset} PATH"
    return "zsar-bench list protocols"
