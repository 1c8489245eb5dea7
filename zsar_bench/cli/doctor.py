"""``zsar-bench doctor``: what is here, what is missing, what to type next."""

from __future__ import annotations

import platform
import shutil
from typing import Any

import typer

from zsar_bench.cli.common import JsonOption, PluginOption, console, print_json


def doctor(plugin: PluginOption = None, json: JsonOption = False) -> None:
    """Check this machine and this installation; ends with the next thing to type."""
    from zsar_bench.catalogue.catalogue import load

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

    from zsar_bench.catalogue.machine import cores
    from zsar_bench.common.files import home, make_folder
    from zsar_bench.data.clips.store import prepared
    from zsar_bench.version import __version__

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
    checks += _confinement()
    broken = [row for row in catalogue.data["plugins"] if row["status"] != "ok"]
    for row in broken:
        say(f"plugin {row['name']}", "bad", "; ".join(row["errors"]))
    if not broken:
        say("plugins", "ok", ", ".join(row["name"] for row in catalogue.data["plugins"]))
    imported = prepared()
    for entry in catalogue.entries("datasets"):
        checks.append(_dataset(entry, catalogue, entry.name in imported))
    return checks, _next(catalogue, imported, broken)


def _confinement() -> list[dict[str, str]]:
    """What stands around plugin code here, part by part."""
    from zsar_bench.sandbox.confinement.confine import support

    confinement = support()
    parts = {
        "files outside a worker's bundle": confinement.files,
        "TCP connections": confinement.tcp,
        "signals to other processes": confinement.signals,
        "system calls that reach other processes": confinement.system_calls,
        "all capabilities": confinement.capabilities,
    }
    taken = [part for part, stands in parts.items() if stands]
    left = [part for part, stands in parts.items() if not stands]
    if confinement.level == "process":
        level = "process: workers are separate processes with a clean environment"
        level += "; this system has no Landlock"
    else:
        level = f"{confinement.level} (ABI {confinement.abi})"
    says = [level]
    says += [f"taken from plugin code: {', '.join(taken)}"] if taken else []
    says += [f"not taken: {', '.join(left)}"] if left else []
    state = "note" if left else "ok"
    return [{"what": "confinement", "state": state, "says": "; ".join(says)}]


def _dataset(entry: Any, catalogue: Any, imported: bool) -> dict[str, str]:
    """What can be said of one data set."""
    from zsar_bench.data.protocols.protocol import stand_ins

    real = entry.spec["stand_in_for"]
    if real:
        says = "made" if imported else "is made when it is needed"
        return {
            "what": f"stand-in {entry.name}",
            "state": "ok",
            "says": f"synthetic clips for the protocols of {real}; {says}",
        }
    what = f"data set {entry.name}"
    if imported:
        return {"what": what, "state": "ok", "says": "imported"}
    how = " ".join(entry.spec["how_to_get"].split())
    others = stand_ins(entry.name, catalogue)
    until = " Until then its protocols run on synthetic clips, and say so." if others else ""
    return {"what": what, "state": "note", "says": f"not imported. {how}{until}"}


def _next(catalogue: Any, imported: list[str], broken: list[Any]) -> str:
    """The command that leads furthest from here: real data before synthetic ones."""
    from zsar_bench.data.protocols.lookup import load_all
    from zsar_bench.data.protocols.protocol import stand_ins

    if broken:
        return "zsar-bench list plugins"
    protocols, groups = load_all(catalogue)
    parts = {name for group in groups for name in group.of}
    protocols = [p for p in protocols if p.id not in parts] or protocols
    methods = " ".join(catalogue.names("methods"))
    ready = [p for p in protocols if p.dataset in imported]
    if ready:
        best = max(ready, key=lambda p: (len(p.seen), p.rule == "xsub", p.pseudo_unseen != ()))
        return f"zsar-bench run {methods} --protocol {best.id}"
    possible = [(e, p) for p in protocols for e in stand_ins(p.dataset, catalogue)]
    if possible:  # the smallest first
        _, quickest = min(
            possible,
            key=lambda ep: (
                ep[0].spec["clips"],
                len(ep[1].unseen),
                ep[1].rule != "xsub",
                not ep[1].pseudo_unseen,
                ep[1].id,
            ),
        )
        return f"zsar-bench run {methods} --protocol {quickest.id}"
    if protocols:
        return f"zsar-bench data import {protocols[0].dataset} PATH"
    return "zsar-bench list protocols"
