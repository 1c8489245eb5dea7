"""Files as strangers damage them, for readers that may only answer with a clip or a refusal."""

from __future__ import annotations

from hypothesis import strategies as st

LONG = b"9" * 400
#: What is put in: numbers of other kinds, and what splits or ends a text.
PIECES = [
    b"", b" ", b"\n", b"\r", b"\x00", b"\xff\xfe", b",", b"-", b".", b"e9", b"1e400", b"nan",
    b"-inf", b"1_0", b"#", b":", b"\xc2\xb2", b"0", b" 7 ", LONG, b"\n" + LONG, b"1\n" * 50,
]  # fmt: skip


@st.composite
def damaged(draw: st.DrawFn, data: bytes) -> bytes:
    """The data with up to four places changed, cut, doubled or filled; or only noise."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=200))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        stop = min(len(data), start + draw(st.sampled_from([0, 1, 1, 2, 9, 60, 500, 10**6])))
        part = data[start:stop]
        kind = draw(st.sampled_from(["flip", "cut", "double", "fill"]))
        if kind == "flip":
            part = bytes(byte ^ (1 << draw(st.integers(0, 7))) for byte in part[:1]) + part[1:]
        elif kind == "cut":
            part = b""
        elif kind == "double":
            part = part * 2
        else:
            part = draw(st.sampled_from(PIECES) | st.binary(max_size=4))
        data = data[:start] + part + data[stop:]
    return data
