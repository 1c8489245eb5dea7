"""Which names may become paths, and how untrusted text is shown in a terminal or in Markdown.

Names come from plugins, protocol files, raw data and untrusted records. A name that becomes part of
a path is checked against a pattern here, when it is registered and again when a record is read.
Text that is only shown is escaped here.
"""

from __future__ import annotations

import re
from typing import Any

from zsar_bench.errors import UserError

#: Of plugins' specs, protocol files and data sets: a path part with the same meaning everywhere.
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
#: Of classes, subjects, setups and cameras, as the store has them.
PLAIN = re.compile(r"[A-Za-z0-9-]{1,40}")
#: Of text fields and parameters.
WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
RUN_ID = re.compile(r"[0-9a-f]{16}")
RULE = re.compile(r"[a-z][a-z-]{0,31}(@[0-9]{1,4})?")
#: A protocol's id with every possible prefix and suffix (``lookup``).
PROTOCOL = re.compile(
    rf"(stand-in/)?{NAME.pattern}(/(random:[0-9]{{1,4}}@[0-9]{{1,9}}|folds:[0-9]{{1,4}}))?"
)
LONGEST_PART = 255  #: bytes of a path part on the usual file systems


def plain(text: str) -> str:
    """The text on one line, without characters that control a terminal or the writing direction.

    Control characters, invisible ones and lone surrogates become spaces.
    """
    return text if text.isprintable() else "".join(c if c.isprintable() else " " for c in text)


def plain_lines(text: str) -> str:
    """The same for a text that may have several lines and tabs; the characters are removed."""
    if text.isprintable():
        return text
    return "".join(c for c in text if c.isprintable() or c in "\n\t")


def plain_json(value: Any) -> Any:
    """The same for every text in a JSON value, keys included: what reporters get."""
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, dict):
        return {plain(k) if isinstance(k, str) else k: plain_json(v) for k, v in value.items()}
    return [plain_json(v) for v in value] if isinstance(value, list | tuple) else value


#: Characters with a meaning in Markdown: ``_`` only next to a character that is no letter or digit,
#: ``@`` and ``www.`` only where GitHub would make a link of them.
_MARKDOWN = re.compile(
    r"[\\`*\[\]|{}~$<]|(?<![^\W_])_|_(?![^\W_])|^#|^[+-](?= )|&(?=#?\w+;)|:(?=//)|(?<=www)\."
    r"|(?<!\w)@(?=\w)|@(?=[\w-]+\.)",
    re.ASCII | re.IGNORECASE,
)
#: Characters that a backslash does not escape in every dialect.
_ENTITIES = {
    "<": "&lt;",
    "&": "&amp;",
    "~": "&#126;",
    "$": "&#36;",
    ":": "&#58;",
    ".": "&#46;",
    "@": "&#64;",
}


def markdown(text: str) -> str:
    """Text escaped for Markdown: for a table's cell, a heading or a line.

    No character ends a cell or a line, or becomes a link, an image, code, emphasis or HTML.
    """
    line = " ".join(plain(text).split())
    return _MARKDOWN.sub(lambda match: _ENTITIES.get(match[0], f"\\{match[0]}"), line)


def protocol_folder(protocol: str) -> str:
    """The name of the folder of a protocol's runs.

    Raises:
        UserError: for an invalid id, or one that is too long for a folder's name.
    """
    name = protocol.replace("/", "+")
    if not PROTOCOL.fullmatch(protocol) or len(name) > LONGEST_PART:
        raise UserError(f"The protocol id {protocol!r} cannot become the name of a folder.")
    return name
