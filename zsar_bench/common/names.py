"""Which names may become paths, and how any text reaches a terminal or a Markdown page.

Names come from plugins, protocol files, raw data and records of strangers. What becomes a part of
a path is checked against a pattern here, once where it is registered and once more where a record
is read; what is only shown is made harmless here, too.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from zsar_bench.errors import UserError

if TYPE_CHECKING:
    pass

#: Of plugins' specs, protocol files and data sets: a path part that no file system reads otherwise.
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
#: Of classes, subjects, setups and cameras, as the store has them.
PLAIN = re.compile(r"[A-Za-z0-9-]{1,40}")
#: Of text fields and parameters.
WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
RUN_ID = re.compile(r"[0-9a-f]{16}")
RULE = re.compile(r"[a-z][a-z-]{0,31}(@[0-9]{1,4})?")
#: A protocol's id with all that may stand before and behind it (``lookup``).
PROTOCOL = re.compile(
    rf"(stand-in/)?{NAME.pattern}(/(random:[0-9]{{1,4}}@[0-9]{{1,9}}|folds:[0-9]{{1,4}}))?"
)
LONGEST_PART = 255  #: bytes of a path part on the usual file systems


def plain(text: str) -> str:
    """The text on one line, without what would steer a terminal or turn a line round.

    Control signs, signs of writing direction, invisible ones and halves of pairs become spaces.
    """
    return text if text.isprintable() else "".join(c if c.isprintable() else " " for c in text)


def plain_lines(text: str) -> str:
    """The same for a text that may have several lines and tabs."""
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


#: What Markdown acts on anywhere in a line: ``_`` only beside what is no letter or digit (another
#: ``_`` is none), ``@`` and ``www.`` only where GitHub would make a link of them.
_MARKDOWN = re.compile(
    r"[\\`*\[\]|{}~$<]|(?<![^\W_])_|_(?![^\W_])|^#|^[+-](?= )|&(?=#?\w+;)|:(?=//)|(?<=www)\."
    r"|(?<!\w)@(?=\w)|@(?=[\w-]+\.)",
    re.ASCII | re.IGNORECASE,
)
#: Signs that a backslash does not make harmless in every dialect.
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
    """A text that a Markdown page shows as it is: in a table's cell, a heading or a line.

    No sign of it ends a cell or a line, or becomes a link, an image, code, emphasis or HTML.
    """
    line = " ".join(plain(text).split())
    return _MARKDOWN.sub(lambda found: _ENTITIES.get(found[0], f"\\{found[0]}"), line)


def protocol_folder(protocol: str) -> str:
    """The name of the folder of a protocol's runs.

    Raises:
        UserError: for an id that is none, or too long for a folder's name.
    """
    name = protocol.replace("/", "+")
    if not PROTOCOL.fullmatch(protocol) or len(name) > LONGEST_PART:
        raise UserError(f"The protocol id {protocol!r} cannot become the name of a folder.")
    return name
