"""The DATA reader by itself: content, counting, and splits."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from smtp_gateway.smtp.data import DataLimits, DataReader, Fault
from smtp_gateway.smtp.effects import LineEndings

LIMITS = DataLimits(
    message_bytes=100_000, header_bytes=10_000, header_fields=200, received_fields=10
)


def read(
    wire: bytes,
    sizes: list[int] | None = None,
    *,
    limits: DataLimits = LIMITS,
    endings: LineEndings = LineEndings.NORMALIZE,
) -> tuple[Fault | None, bytes, int]:
    """Fault, content and how much of the wire was taken, with reads of these sizes in turn."""
    reader = DataReader(limits, endings)
    content, at, turn = b"", 0, 0
    while at < len(wire):
        size = sizes[turn % len(sizes)] if sizes else len(wire)
        got = reader.feed(wire[at : at + size])
        content, at, turn = content + got.piece, at + got.used, turn + 1
        if got.ended or got.exhausted:
            return reader.fault, content if reader.fault is None else b"", at
    raise AssertionError("no end")


@pytest.mark.parametrize(
    ("wire", "content"),
    [
        (b".\r\n", b""),
        (b"a\r\n.\r\n", b"a\r\n"),
        (b"\r\n.\r\n", b"\r\n"),
        (b"..\r\n.\r\n", b".\r\n"),
        (b"...\r\n.\r\n", b"..\r\n"),
        (b".a\r\n.\r\n", b"a\r\n"),
        (b". \r\n.\r\n", b" \r\n"),
        (b"a\n..b\n\r\n.\r\n", b"a\r\n.b\r\n\r\n"),
        (b"a\nb\r\n.\r\n", b"a\r\nb\r\n"),
        (b"\n\n\r\n.\r\n", b"\r\n\r\n\r\n"),
        (b"a\x00b\r\n.\r\n", b"a\x00b\r\n"),
        (b"\x0b.\x0b\r\n.\r\n", b"\x0b.\x0b\r\n"),
    ],
)
def test_content_is_what_the_sender_meant(wire: bytes, content: bytes) -> None:
    """RFC 5321 4.5.2: any line starting with a dot survives; CRLF in what follows."""
    for sizes in ([1], [2], [3], [7], None):
        assert read(wire + b"NOOP\r\n", sizes) == (None, content, len(wire))


@pytest.mark.parametrize(
    ("wire", "fault"),
    [
        (b"a\rb\r\n.\r\n", Fault.BARE_CR),
        (b"a\r\r\n.\r\n", Fault.BARE_CR),
        (b"\r.\r\n\r\n.\r\n", Fault.BARE_CR),
        (b".\n\r\n.\r\n", Fault.DOT_LINE),
        (b"a\n.\n\r\n.\r\n", Fault.DOT_LINE),
        (b"a\n.\r\nb\r\n.\r\n", Fault.DOT_LINE),
        (b"a\r\n.\nb\r\n.\r\n", Fault.DOT_LINE),
        (b"\x00a\r\n.\r\n", Fault.NUL),
        (b"a\x00\r\n.\r\n", Fault.NUL),
        (b"a\r\n.\x00b\r\n.\r\n", Fault.NUL),
        (b"a\x00\nb\rc\r\n.\r\n", Fault.BARE_CR),
    ],
)
def test_line_ends_that_readers_disagree_about_are_faults(wire: bytes, fault: Fault) -> None:
    """smtp-server 3.3: found in any split, told at the real end, the most serious first."""
    for sizes in ([1], [2], [3], [7], None):
        assert read(wire, sizes) == (fault, b"", len(wire))


def test_strict_refuses_a_bare_lf() -> None:
    """smtp-server 3.3: mode strict."""
    assert read(b"a\nb\r\n.\r\n", endings=LineEndings.STRICT)[0] is Fault.BARE_LF
    assert read(b"a\r\nb\r\n.\r\n", endings=LineEndings.STRICT)[0] is None


def test_lines_have_no_limit() -> None:
    """RFC 5321 4.5.3.1.6 asks for at least 1,000 octets; there is no reason to stop there."""
    line = b"S: x\r\n\r\n" + b"x" * 50_000 + b"\r\n"
    assert read(line + b".\r\n", [16_384]) == (None, line, len(line) + 3)


def test_held_input_is_small_whatever_the_line() -> None:
    """Memory of a session is bounded in every state."""
    reader = DataReader(LIMITS, LineEndings.NORMALIZE)
    reader.feed(b"x" * 40_000)
    assert len(reader._held) <= 16  # noqa: SLF001  # the bound itself is the point


def test_a_text_line_of_exactly_the_limit_fits() -> None:
    """RFC 1870 5: octets with CRLF, without stuffing and final dot."""
    small = DataLimits(10, 10_000, 200, 10)
    assert read(b"..2345678\r\n.\r\n", limits=small)[0] is None
    assert read(b"12345678\r\n.\r\n", limits=small)[0] is None
    assert read(b"123456789\r\n.\r\n", limits=small)[0] is Fault.OVER_SIZE


def test_twice_the_limit_is_the_end_of_patience() -> None:
    """smtp-server 1: counted in octets as received, in any split."""
    small = DataLimits(10, 10_000, 200, 10)
    for sizes in ([1], [3], None):
        assert read(b"x" * 30, sizes, limits=small) == (Fault.OVER_SIZE, b"", 20)


@pytest.mark.parametrize("sizes", [[1], [5], [17], None])
def test_header_fields_are_counted_not_lines(sizes: list[int] | None) -> None:
    """Folded lines belong to their field; the body does not count."""
    limits = DataLimits(100_000, 10_000, 3, 10)
    good = b"A: 1\r\n 2\r\n\t3\r\nB: 1\r\nC: 1\r\n\r\nD: 1\r\nE: 1\r\n.\r\n"
    assert read(good, sizes, limits=limits)[0] is None
    bad = b"A: 1\r\nB: 1\r\nC: 1\r\nD: 1\r\n\r\n.\r\n"
    assert read(bad, sizes, limits=limits)[0] is Fault.HEADER_TOO_LARGE


@pytest.mark.parametrize("sizes", [[1], [5], [17], None])
def test_received_fields_are_counted_in_the_header_only(sizes: list[int] | None) -> None:
    """RFC 5321 6.3: loops; a quoted mail in the body is none."""
    ten = b"ReCeived: from a\r\n by b\r\n" * 10
    assert read(ten + b"\r\n" + ten + b".\r\n", sizes)[0] is None
    assert read(ten + b"Received: x\r\n\r\n.\r\n", sizes)[0] is Fault.ROUTING_LOOP
    assert read(ten.replace(b"\r\n", b"\n") + b"Received: x\n\nx\r\n.\r\n", sizes)[0] is (
        Fault.ROUTING_LOOP
    )


@pytest.mark.parametrize("sizes", [[1], [5], [17], None])
def test_header_octets_are_bounded(sizes: list[int] | None) -> None:
    """smtp-server 3.4: also for one endless field."""
    limits = DataLimits(100_000, 50, 200, 10)
    assert read(b"A: " + b"x" * 60 + b"\r\n\r\n.\r\n", sizes, limits=limits)[0] is (
        Fault.HEADER_TOO_LARGE
    )
    assert read(b"A: b\r\n\r\n" + b"x" * 60 + b"\r\n.\r\n", sizes, limits=limits)[0] is None


TOKENS = st.sampled_from(
    [b"\r\n", b"\r\n", b"\n", b"\r", b".", b"..", b"a", b"\x00", b" ", b"x" * 20, b"\r\n.\r\n"]
)


@settings(max_examples=400, deadline=None)
@given(st.lists(TOKENS, max_size=14).map(b"".join), st.lists(st.integers(1, 9), min_size=1))
@example(b"a\r\n.\n.\r\n", [1])
def test_any_split_reads_the_same(body: bytes, sizes: list[int]) -> None:
    """The same bytes in any split give the same result."""
    wire = body + b"\r\n.\r\n"
    assert read(wire, sizes) == read(wire)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400), st.integers(1, 50))
def test_what_is_stuffed_comes_back(raw: bytes, size: int) -> None:
    """RFC 5321 4.5.2: unstuffing undoes stuffing for every message of CRLF lines."""
    lines = raw.replace(b"\r", b"").replace(b"\x00", b"").split(b"\n")
    content = b"".join(line + b"\r\n" for line in lines)
    stuffed = b"".join((b"." + line if line[:1] == b"." else line) + b"\r\n" for line in lines)
    fault, read_back, used = read(stuffed + b".\r\n", [size])
    assert (fault, read_back, used) == (None, content, len(stuffed) + 3)
