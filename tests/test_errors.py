"""Errors that people read: what strangers' files put into them can be shown, and is not endless."""

from __future__ import annotations

import pytest

from zsar_bench.errors import DataError, UserError, unknown


@pytest.mark.parametrize("kind", [UserError, DataError])
def test_an_error_says_what_and_what_next(kind: type[UserError]) -> None:
    error = kind("The file ä.csv is none.", "Type: zsar-bench list")
    assert str(error) == "The file ä.csv is none.\nType: zsar-bench list"
    assert (error.what, error.hint) == tuple(str(error).split("\n"))
    assert str(kind("One line.")) == "One line."


@pytest.mark.parametrize(
    ("found", "shown"),
    [
        ("a\x1b[2Jb", r"a\x1b[2Jb"),  # would clear a terminal
        ("half \ud800 a pair", r"half \ud800 a pair"),  # would be a UnicodeEncodeError
        ("\u202egnp.exe", r"\u202egnp.exe"),  # would be shown from right to left
        ("\0", r"\x00"),
        ("ein Gruß 漢字 \N{GRINNING FACE}", "ein Gruß 漢字 \N{GRINNING FACE}"),
    ],
)
def test_what_no_terminal_should_be_sent_is_written_out(found: str, shown: str) -> None:
    error = UserError(f"There is no {found}.", f"Not {found}?")
    assert error.what == f"There is no {shown}."
    assert error.hint == f"Not {shown}?"
    assert str(error) == f"{error.what}\n{error.hint}"
    str(error).encode()


def test_of_a_text_that_never_ends_its_ends_are_shown() -> None:
    error = unknown("class in 'seen' of", "a" * 100_000, ["x"] * 9)
    assert len(error.what) <= 1000
    assert error.what.startswith("Unknown class in 'seen' of 'aaa")
    assert error.what.endswith("aaa'.")
    assert " ... " in error.what
    assert len(UserError("x", "\x1b" * 5000).hint) <= 1000
    whole = "b" * 1000
    assert UserError(whole).what == whole
