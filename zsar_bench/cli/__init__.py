"""The command line. Importing it imports neither torch nor pydantic nor numpy."""

from __future__ import annotations

import os
import signal
import sys

import typer

from zsar_bench.cli import (
    compare,
    data,
    doctor,
    features,
    listing,
    results,
    run,
    score,
    show,
    tune,
)
from zsar_bench.cli.common import error_console
from zsar_bench.errors import RunFailed, UserError, storage_error
from zsar_bench.version import __version__

app = typer.Typer(
    name="zsar-bench",
    help="The referee for zero-shot skeleton action recognition.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.command("run")(run.run)
app.command("tune")(tune.tune)
app.command("compare")(compare.compare)
app.command("score")(score.score)
app.command("list")(listing.list_things)
app.command("show")(show.show)
app.command("doctor")(doctor.doctor)
app.add_typer(data.app, name="data")
app.add_typer(features.app, name="features")
app.add_typer(results.app, name="results")


def _version(value: bool) -> None:
    if value:
        typer.echo(f"zsar-bench {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Show the version and exit."
    ),
) -> None:
    """Train and score any method on any published protocol, honestly."""


def main() -> None:
    """Entry point: 0 done, 1 some run or check failed, 2 user or data error, 130 interrupted."""
    if sys.platform == "win32":
        error_console().print("zsar-bench runs on Linux and macOS; on Windows, use WSL.")
        sys.exit(2)
    try:
        _run()
    except UserError as error:
        console = error_console()
        console.print(f"[bold red]Error:[/] {_plain(error.what)}", soft_wrap=True)
        if error.hint:
            console.print(_plain(error.hint), soft_wrap=True)
        sys.exit(2)
    except RunFailed as error:
        console = error_console()
        console.print(f"[bold red]Failed:[/] {_plain(error.reason)}", soft_wrap=True)
        if error.log:
            console.print(_plain(error.log.splitlines()[-1]), style="dim", soft_wrap=True)
        sys.exit(1)
    except (KeyboardInterrupt, SystemExit) as stop:
        # Typer turns an interrupt within a command into a silent exit with code 130.
        if isinstance(stop, SystemExit) and stop.code != 130:
            raise
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the command ends by itself
        error_console().print("Interrupted. The same command continues where this one stopped.")
        sys.exit(130)
    except BrokenPipeError:  # the reader of the output has ended, e.g. `head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(0)


def _run() -> None:
    try:
        app(prog_name="zsar-bench")  # the same however it was started
    except OSError as error:
        refusal = storage_error(error)
        if refusal is None:
            raise
        raise refusal from None


def _plain(text: str) -> str:
    """Text from files and plugins: no markup, no terminal control sequences."""
    from rich.control import strip_control_codes
    from rich.markup import escape

    return escape(strip_control_codes(text.replace("\x1b", "")))
