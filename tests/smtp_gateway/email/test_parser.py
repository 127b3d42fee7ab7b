"""Bytes to parts: bounded, octet for octet, and in agreement with compat32."""

from __future__ import annotations

import contextlib
import itertools
import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtp_gateway.email.parser import Part, read_fields, read_tree
from smtp_gateway.errors import MessageError, MessageTooComplex, MessageUnreadable
from tests.support import judge

CRLF = b"\r\n"


def tree(content: bytes) -> Part:
    """The tree of a whole message."""
    fields, body = read_fields(content, 0, len(content))
    return read_tree(content, fields, body)


def leaves(part: Part) -> list[judge.Leaf]:
    """Type and octets of each leaf, in order."""
    if part.media.type.startswith("message/"):
        return [judge.Leaf(part.media.type, b"")]
    if part.is_multipart:
        return [leaf for child in part.children for leaf in leaves(child)]
    return [judge.Leaf(part.media.type, part.body())]


def values(section: bytes) -> list[tuple[str, str]]:
    """Names and values of a header section."""
    return [(one.name, one.value) for one in read_fields(section, 0, len(section))[0]]


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        (b"A: 1\r\nB:2\r\n\r\n", [("A", "1"), ("B", "2")]),
        (b"A: 1\nB: 2\n\n", [("A", "1"), ("B", "2")]),
        (b"A: one\r\n two\r\n\tthree\r\n\r\n", [("A", "one two\tthree")]),
        (b"A:\r\n one\r\n\r\n", [("A", "one")]),
        (b"A : 1\r\n\r\n", [("A", "1")]),
        (b"A: x: y\r\n\r\n", [("A", "x: y")]),
        (b"A: 1", [("A", "1")]),
        (b"From x@y Tue\r\nA: 1\r\n\r\n", [("A", "1")]),
        ("A: é\r\n\r\n".encode(), [("A", "é")]),
        (b"A: \xe9\x80\r\n\r\n", [("A", "é€")]),
        ("A: a\vB: b\fc\x1cd\x85e\u2028f\r\n\r\n".encode(), [("A", "a\vB: b\fc\x1cd\x85e\u2028f")]),
        (b"\r\nA: 1\r\n", []),
        (b" A: 1\r\n\r\n", []),
        (b"", []),
    ],
)
def test_fields_are_unfolded_and_end_at_lf_alone(
    section: bytes, expected: list[tuple[str, str]]
) -> None:
    """VT, FF, FS, NEL and LS are text; raw octets are UTF-8 or windows-1252."""
    assert values(section) == expected


@pytest.mark.parametrize(
    ("content", "body"),
    [
        (b"A: 1\r\n\r\nbody", b"body"),
        (b"A: 1\n\nbody", b"body"),
        (b"\r\nbody", b"body"),
        (b"\nbody", b"body"),
        (b"A: 1\r\nno field\r\nB: 2\r\n\r\nrest", b"no field\r\nB: 2\r\n\r\nrest"),
        (b"A: \xe9\r\nno field", b"no field"),
        (b" folded nothing\r\nB: 2\r\n", b" folded nothing\r\nB: 2\r\n"),
        (b"A: 1\r\n", b""),
    ],
)
def test_the_body_begins_behind_the_blank_line_or_at_a_line_that_is_no_field(
    content: bytes, body: bytes
) -> None:
    """Nothing between header and body is lost."""
    assert tree(content).body() == body


def test_a_field_without_a_name_is_refused() -> None:
    """It could be anything, also one that steers."""
    with pytest.raises(MessageUnreadable):
        tree(b"A: 1\r\n: 2\r\n\r\n")


MIXED = b"Content-Type: multipart/mixed; boundary=B\r\n\r\n"


@pytest.mark.parametrize(
    ("body", "parts"),
    [
        (b"--B\r\n\r\none\r\n--B\r\n\r\ntwo\r\n--B--\r\n", [b"one", b"two"]),
        (b"--B\n\none\n--B--\n", [b"one"]),
        (b"preamble\r\n--B\r\n\r\none\r\n--B--", [b"one"]),
        (b"--B\r\n\r\none", [b"one"]),
        (b"--B \t\r\n\r\none\r\n--B-- \r\n", [b"one"]),
        (
            b"--B\r\n\r\n--Bx\r\n--B-\r\n --B\r\nx--B\r\n--B--\r\n",
            [b"--Bx\r\n--B-\r\n --B\r\nx--B"],
        ),
        (b"--B\r\n--B\r\n\r\none\r\n--B\r\n--B--\r\n", [b"one"]),
        (b"--B\r\n\r\n\r\n--B--\r\n", [b""]),
        (b"--B\r\n\r\none\r\n--B--\r\n--B\r\n\r\ntwo\r\n--B--\r\n", [b"one", b"two"]),
        (b"--B--\r\n", []),
        (b"\r\n", []),
    ],
)
def test_a_multipart_is_divided_at_its_delimiters(body: bytes, parts: list[bytes]) -> None:
    """A line of its own, blanks behind allowed, and parts behind the last one found too."""
    assert [child.body() for child in tree(MIXED + body).children] == parts


@pytest.mark.parametrize("content_type", ["multipart/mixed", "multipart/mixed; boundary=", ""])
def test_content_without_a_boundary_is_refused(content_type: str) -> None:
    """Showing it raw, or leaving it out, would both be wrong."""
    header = f"Content-Type: {content_type or 'multipart/x; boundary=A'}\r\n\r\n"
    with pytest.raises(MessageUnreadable):
        tree(header.encode() + b"text without a part\r\n")


def test_text_behind_the_last_part_is_marked() -> None:
    """No reader shows it, so its loss is noted; blank lines are nothing."""
    assert tree(MIXED + b"--B\r\n\r\none\r\n--B--\r\nmore").epilogue
    assert not tree(MIXED + b"--B\r\n\r\none\r\n--B--\r\n\r\n \r\n").epilogue


def test_parts_of_a_digest_are_messages_by_default() -> None:
    """RFC 2046 5.1.5."""
    digest = MIXED.replace(b"mixed", b"digest") + b"--B\r\n\r\nFrom: x\r\n\r\nhi\r\n--B--\r\n"
    assert tree(digest).children[0].media.type == "message/rfc822"


def nested(depth: int) -> bytes:
    """A part below ``depth`` multiparts."""
    level = b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n"
    return b"".join(level % (at, at) for at in range(depth)) + b"\r\nbody\r\n"


def test_fifty_levels_are_read_and_fifty_one_are_not() -> None:
    """The bound is exact."""
    assert leaves(tree(nested(50))) == [judge.Leaf("text/plain", b"body")]
    with pytest.raises(MessageTooComplex):
        tree(nested(51))


def test_a_thousand_parts_are_read_and_one_more_is_not() -> None:
    """The multipart itself is one of them."""
    assert len(tree(MIXED + b"--B\r\n\r\nx\r\n" * 999).children) == 999
    with pytest.raises(MessageTooComplex):
        tree(MIXED + b"--B\r\n\r\nx\r\n" * 1_000)


MEGABYTE = 1_048_576
BOMBS = {
    "depth of ten thousand": lambda: nested(10_000),
    "a hundred thousand parts": lambda: MIXED + b"--B\r\n\r\nx\r\n" * 100_000,
    "delimiters in a row": lambda: MIXED + b"--B\r\n" * 1_000_000,
    "header of ten megabytes": lambda: b"A: " + b"x" * 10 * MEGABYTE + b"\r\n\r\n",
    "a million fields": lambda: b"A: x\r\n" * 1_000_000 + b"\r\n",
    "long folded header": lambda: b"A: x\r\n" + b" x\r\n" * 200_000 + b"\r\n",
    "fields of parts": lambda: MIXED + (b"--B\r\n" + b"A: x\r\n" * 1_900 + b"\r\nx\r\n") * 900,
    "boundary almost repeated": lambda: (
        MIXED.replace(b"=B", b"=" + b"b" * 70) + (b"--" + b"b" * 69 + CRLF) * 200_000
    ),
    "boundary of hyphens": lambda: MIXED.replace(b"=B", b"=" + b"-" * 70) + b"-" * 10 * MEGABYTE,
    "empty lines": lambda: b"A: x\r\n\r\n" + CRLF * 5 * MEGABYTE,
    "parameters without end": lambda: b"Content-Type: text/plain" + b'; a="\\' * 150_000 + CRLF,
    "parameter blanks": lambda: b"Content-Type: text/plain;" + b" " * 1_000_000 + CRLF,
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_no_message_costs_more_than_its_size_allows(bomb: str) -> None:
    """Two seconds and eight times the message are far above what any of them needs."""
    content = BOMBS[bomb]()
    tracemalloc.start()
    begin = time.process_time()
    with contextlib.suppress(MessageError):  # read or refused, both are fine
        tree(content)
    seconds = time.process_time() - begin
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert seconds < 2 * 5  # tracing itself costs the factor
    assert peak < 8 * len(content) + 32 * MEGABYTE


# --- Agreement with compat32, over trees with near misses and missing ends ---


@dataclass(frozen=True)
class Node:
    """A leaf with ``lines``, or a multipart with ``children``."""

    header: bytes
    lines: tuple[bytes, ...] = ()
    children: tuple[Node, ...] = ()
    closed: bool = True
    doubled: bool = False  # each delimiter stands twice


NEAR_MISSES = [
    b"text",
    b"",
    b"--",
    b"--b0x",
    b" --b1",
    b"-- b0",
    b"b0--",
    b"---b0",
    b" fold",
    b"x:y",
]
LEAF_HEADERS = [
    b"",
    b"Content-Type: text/html; charset=utf-8\r\n",
    b"Content-Type: image/png\r\nX-Other: 1\r\n\t2\r\n",
    b"Content-Type: nonsense\r\n",
]
LEAVES = st.builds(
    Node,
    st.sampled_from(LEAF_HEADERS),
    st.lists(st.sampled_from(NEAR_MISSES), max_size=5).map(tuple),
)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.builds(
        Node,
        st.sampled_from([b"multipart/mixed", b"Multipart/Alternative", b"multipart/x-own"]),
        children=st.lists(inner, min_size=1, max_size=3).map(tuple),
        closed=st.booleans(),
        doubled=st.booleans(),
    ),
    max_leaves=12,
)


def written(node: Node, numbers: Iterator[int]) -> bytes:
    """The octets of a part, with a boundary of its own for each multipart."""
    if not node.children:
        return node.header + CRLF + CRLF.join(node.lines)
    boundary = b"b%d" % next(numbers)
    delimiter = (b"--" + boundary + CRLF) * (2 if node.doubled else 1)
    parts = b"".join(delimiter + written(one, numbers) + CRLF for one in node.children)
    end = b"--" + boundary + b"--" if node.closed else b""
    return b"Content-Type: " + node.header + b"; boundary=" + boundary + CRLF * 2 + parts + end


@given(TREES)
def test_the_parts_are_those_of_compat32(node: Node) -> None:
    """The same leaves in the same order, octet for octet."""
    content = written(node, itertools.count())
    assert leaves(tree(content)) == judge.structure(content)
