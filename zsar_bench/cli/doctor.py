"""``zsar-bench doctor``: checks, and the next command to type."""

from __future__ import annotations

import typer

from zsar_bench.cli.common import JsonOption, PluginOption, console, print_json

MARKS = {"ok": "[green]ok  [/]", "note": "[yellow]note[/]", "bad": "[red]bad [/]"}


def doctor(plugin: PluginOption = None, json: JsonOption = False) -> None:
    """Check this machine and this installation; ends with the next thing to type."""
    from zsar_bench.api.doctor import doctor

    report = doctor(plugin or ())
    if json:
        print_json({"checks": [vars(check) for check in report.checks], "next": report.next})
    else:
        out = console()
        for check in report.checks:
            out.print(MARKS[check.state], end=" ")
            out.print(f"{check.what}: {check.says}", markup=False, soft_wrap=True)
        out.print("\nNext, type:", style="bold")
        out.print(f"  {report.next}", markup=False, soft_wrap=True)
    if not report.healthy:
        raise typer.Exit(1)
