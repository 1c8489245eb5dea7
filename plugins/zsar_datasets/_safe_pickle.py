"""Pickles of strangers: plain data and numpy arrays of numbers, and nothing is ever run.

A pickle is a program for a small stack machine that may call any function of any module. The
machine here knows only what builds numbers, texts, lists, tuples, dicts and arrays of numbers,
each array through a stand-in that checks it (``_pickled_arrays``); whatever else a pickle asks
for is an error that names it. Arrays stay in the file: only where their bytes lie is kept, and
``Array.read`` fetches them.

Why not a subclass of ``pickle.Unpickler`` with its own ``find_class``: that stops calls, but the
machine in C still takes the file's word for sizes. Nine bytes (memo place 2**26) make Python 3.11
fill a gigabyte, the highest such place 64; a forged byte count is allocated before it is read;
a dict whose key is a tuple of tuples is hashed for ever. None of it can be overridden.

The format: Python's documentation of ``pickle`` and ``pickletools``, protocols 0 to 5.
"""

from __future__ import annotations

import pickle
import re
import struct
from collections.abc import Callable
from typing import Any, BinaryIO

from zsar_bench.errors import DataError
from zsar_datasets._pickled_arrays import GLOBALS, Array, Function, Type
from zsar_datasets._pickled_bytes import HINT, SHORT, Source, Stored

MOST_STEPS = 30_000_000  #: of the machine; NTU RGB+D 120 takes 5 million
MOST_CONTAINERS = 4_000_000  #: lists, tuples and dicts, which cost more than their bytes
HIGHEST, DEEPEST = 100_000, 100  #: values on the stack, marks in it
_LINE = 1024  # bytes of a line that is no text

_WHOLE = re.compile(rb"-?\d{1,40}L?")


def load(file: BinaryIO, size: int) -> Any:
    """What a pickle holds: plain values, ``Array`` for arrays, ``Stored`` for texts over 4 KiB.

    Args:
        file: at its start, seekable; arrays are skipped.
        size: its bytes.

    Raises:
        DataError: for everything that is not a whole pickle of such data; it names the function
            or class that the pickle asks for.
    """
    try:
        return _Machine(Source(file, size)).run()
    except OSError as error:
        raise DataError(error.strerror or str(error)) from None


def _asks_for(what: str) -> DataError:
    return DataError(
        f"it asks for {what[:80]!r}, which no array of numbers needs; nothing was run",
        "Do not open this file with other tools before you know who made it.",
    )


def _damaged(how: str) -> DataError:
    return DataError(f"it is damaged: {how}", HINT)


class _Machine:
    """The stack machine: a stack of values, marks in it, and values by number (the memo)."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.containers = 0

    def run(self) -> Any:
        for _ in range(MOST_STEPS):
            code = self.source.take(1)
            if code == pickle.STOP:
                return self.result()
            step = _STEPS.get(code)
            if step is None:
                raise self.refused(code)
            step(self)
            if len(self.stack) > HIGHEST:
                raise DataError("it is nested too deeply, or a list in it never ends", HINT)
        raise DataError(f"it takes more than {MOST_STEPS:,} steps, which no real file does", HINT)

    def result(self) -> Any:
        value = self.pop()
        if self.stack or self.marks or not self.source.ended:
            raise _damaged("it goes on after its end")
        return value

    def refused(self, code: bytes) -> DataError:
        if code == pickle.INST:
            return _asks_for(f"{self.word()}.{self.word()}")
        if code in _NEVER:
            return _asks_for(_NEVER[code])
        at = self.source.place - 1
        return DataError(f"it is no pickle of plain data: {code!r} stands at byte {at}", HINT)

    # --- The stack ---

    def need(self, count: int) -> None:
        """So many values above the last mark."""
        if len(self.stack) - (self.marks[-1] if self.marks else 0) < count:
            raise _damaged("it takes more values than it has")

    def pop(self) -> Any:
        self.need(1)
        return self.stack.pop()

    def above(self) -> list[Any]:
        """The values above the last mark, which goes with them."""
        if not self.marks:
            raise _damaged("it takes more values than it has")
        mark = self.marks.pop()
        values = self.stack[mark:]
        del self.stack[mark:]
        return values

    def last(self, count: int) -> tuple[Any, ...]:
        self.need(count)
        values = tuple(self.stack[-count:])
        del self.stack[-count:]
        return values

    def mark(self) -> None:
        if len(self.marks) >= DEEPEST:
            raise DataError("it is nested too deeply", HINT)
        self.marks.append(len(self.stack))

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def contain(self, value: Any) -> None:
        """Push a list, tuple or dict."""
        self.containers += 1
        if self.containers > MOST_CONTAINERS:
            raise DataError(f"it holds more than {MOST_CONTAINERS:,} lists or dicts", HINT)
        self.stack.append(value)

    def remember(self, number: int) -> None:
        self.need(1)
        self.memo[number] = self.stack[-1]

    def recall(self, number: int) -> None:
        try:
            self.stack.append(self.memo[number])
        except KeyError:
            raise _damaged("it recalls what it never had") from None

    # --- Arguments in the file ---

    def leave_out(self, count: int) -> None:
        self.source.take(count)

    def number(self, form: struct.Struct) -> Any:
        return form.unpack(self.source.take(form.size))[0]

    def line(self) -> bytes:
        _, length, text = self.source.line()
        if length > _LINE:
            raise _damaged("a line in it does not end")
        return text

    def word(self) -> str:
        return self.line().decode("latin-1")

    def whole(self) -> int:
        """An integer; ``00`` and ``01`` are how protocols 0 and 1 write False and True."""
        text = self.line()
        if text in (b"00", b"01"):
            return text == b"01"
        if not _WHOLE.fullmatch(text):
            raise _damaged(f"{text[:20]!r} stands where a number should")
        return int(text.removesuffix(b"L"))

    def decimal(self) -> float:
        text = self.line()
        try:
            return float(text)
        except ValueError:
            raise _damaged(f"{text[:20]!r} stands where a number should") from None

    def text(self, size: struct.Struct) -> Any:
        length = self.number(size)
        if length > SHORT:
            return Stored(self.source.skip(length), length, "utf-8", is_text=True)
        return _decoded(self.source.take(length), "utf-8")

    def text_line(self) -> Any:
        start, length, text = self.source.line()
        if length > SHORT:
            return Stored(start, length, "raw-unicode-escape", is_text=True)
        return _decoded(text, "raw-unicode-escape")

    def data(self, size: struct.Struct) -> bytes | Stored:
        length = self.number(size)
        if length > SHORT:
            return Stored(self.source.skip(length), length, "", is_text=False)
        return self.source.take(length)

    # --- Lists, dicts, functions ---

    def extend(self, values: list[Any]) -> None:
        self.need(1)
        target = self.stack[-1]
        if type(target) is not list:
            raise _damaged("it fills a list that is none")
        target += values

    def update(self, target: Any, flat: list[Any]) -> None:
        keys = flat[::2]
        # Only texts: what a key of tuples in tuples costs to hash doubles with every level.
        if type(target) is not dict or len(flat) % 2 or not all(type(k) is str for k in keys):
            raise _damaged("a dict in it is none, or has keys that are no texts")
        target.update(zip(keys, flat[1::2], strict=True))

    def set_items(self, flat: list[Any]) -> None:
        self.need(1)
        self.update(self.stack[-1], flat)

    def new_dict(self) -> None:
        made: dict[str, Any] = {}
        self.update(made, self.above())
        self.contain(made)

    def find(self, module: Any, name: Any) -> None:
        if type(module) is not str or type(name) is not str:
            raise _asks_for("what has no name")
        function = GLOBALS.get((module, name))
        if function is None:
            raise _asks_for(f"{module[:60]}.{name}")
        self.stack.append(function)

    def call(self) -> None:
        function, arguments = self.last(2)
        if type(function) is not Function or type(arguments) is not tuple:
            raise _damaged("it calls what is no function")
        self.contain(function.call(*arguments))

    def build(self) -> None:
        target, state = self.last(2)
        if not isinstance(target, Array | Type):
            raise _damaged("it changes what cannot be changed")
        target.build(state)
        self.stack.append(target)


def _decoded(data: bytes, coding: str) -> str:
    try:
        return data.decode(coding)
    except UnicodeDecodeError:
        raise _damaged("a text in it is none") from None


# --- The operations --------------------------------------------------------------------------

_1, _2, _4, _8 = (struct.Struct(f"<{letter}") for letter in "BHIQ")
_INT, _DOUBLE = struct.Struct("<i"), struct.Struct(">d")


_STEPS: dict[bytes, Callable[[_Machine], None]] = {
    pickle.PROTO: lambda m: m.leave_out(1),
    pickle.FRAME: lambda m: m.leave_out(8),  # a hint for buffers
    pickle.MARK: _Machine.mark,
    # the memo
    pickle.PUT: lambda m: m.remember(m.whole()),
    pickle.BINPUT: lambda m: m.remember(m.source.take(1)[0]),
    pickle.LONG_BINPUT: lambda m: m.remember(m.number(_4)),
    pickle.MEMOIZE: lambda m: m.remember(len(m.memo)),
    pickle.GET: lambda m: m.recall(m.whole()),
    pickle.BINGET: lambda m: m.recall(m.source.take(1)[0]),
    pickle.LONG_BINGET: lambda m: m.recall(m.number(_4)),
    # single values
    pickle.NONE: lambda m: m.push(None),
    pickle.NEWTRUE: lambda m: m.push(True),
    pickle.NEWFALSE: lambda m: m.push(False),
    pickle.INT: lambda m: m.push(m.whole()),
    pickle.LONG: lambda m: m.push(m.whole()),
    pickle.BININT: lambda m: m.push(m.number(_INT)),
    pickle.BININT1: lambda m: m.push(m.source.take(1)[0]),
    pickle.BININT2: lambda m: m.push(m.number(_2)),
    pickle.LONG1: lambda m: m.push(
        int.from_bytes(m.source.take(m.source.take(1)[0]), "little", signed=True)
    ),
    pickle.FLOAT: lambda m: m.push(m.decimal()),
    pickle.BINFLOAT: lambda m: m.push(m.number(_DOUBLE)),
    pickle.UNICODE: lambda m: m.push(m.text_line()),
    pickle.SHORT_BINUNICODE: lambda m: m.push(m.text(_1)),
    pickle.BINUNICODE: lambda m: m.push(m.text(_4)),
    pickle.BINUNICODE8: lambda m: m.push(m.text(_8)),
    pickle.SHORT_BINBYTES: lambda m: m.push(m.data(_1)),
    pickle.BINBYTES: lambda m: m.push(m.data(_4)),
    pickle.BINBYTES8: lambda m: m.push(m.data(_8)),
    pickle.BYTEARRAY8: lambda m: m.push(m.data(_8)),
    # lists, tuples, dicts
    pickle.EMPTY_LIST: lambda m: m.contain([]),
    pickle.LIST: lambda m: m.contain(m.above()),
    pickle.APPEND: lambda m: m.extend([m.pop()]),
    pickle.APPENDS: lambda m: m.extend(m.above()),
    pickle.EMPTY_TUPLE: lambda m: m.contain(()),
    pickle.TUPLE: lambda m: m.contain(tuple(m.above())),
    pickle.TUPLE1: lambda m: m.contain(m.last(1)),
    pickle.TUPLE2: lambda m: m.contain(m.last(2)),
    pickle.TUPLE3: lambda m: m.contain(m.last(3)),
    pickle.EMPTY_DICT: lambda m: m.contain({}),
    pickle.DICT: _Machine.new_dict,
    pickle.SETITEM: lambda m: m.set_items(list(m.last(2))),
    pickle.SETITEMS: lambda m: m.set_items(m.above()),
    # functions
    pickle.GLOBAL: lambda m: m.find(m.word(), m.word()),
    pickle.STACK_GLOBAL: lambda m: m.find(*m.last(2)),
    pickle.REDUCE: _Machine.call,
    pickle.BUILD: _Machine.build,
}

_NEVER = {
    pickle.PERSID: "an object that is stored elsewhere",
    pickle.BINPERSID: "an object that is stored elsewhere",
    pickle.EXT1: "a registered extension",
    pickle.EXT2: "a registered extension",
    pickle.EXT4: "a registered extension",
    pickle.NEXT_BUFFER: "a buffer that is stored elsewhere",
}
