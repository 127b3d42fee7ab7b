"""Nothing is dropped silently: each leaf ends in html, text, a file, a note, or a refusal."""

from __future__ import annotations

import base64
import binascii
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from smtp_gateway.email.bodies import Contents, read_contents
from smtp_gateway.email.parser import read_fields, read_tree
from smtp_gateway.errors import PartUnsupported
from smtp_gateway.policy import InlineImages


def contents(raw: bytes, inline_images: InlineImages = InlineImages.ATTACH) -> Contents:
    """What a whole message holds."""
    fields, body = read_fields(raw, 0, len(raw))
    return read_contents(read_tree(raw, fields, body), inline_images)


IMAGE = b"Content-Type: image/png\r\nContent-ID: <i>\r\nContent-Disposition: inline\r\n\r\nPNG"


def test_an_image_inside_the_html_is_attached_and_noted() -> None:
    """Its `cid:` link will not resolve."""
    found = contents(IMAGE)
    assert [one.filename for one in found.attachments.items] == ["attachment.png"]
    assert found.noted == ["Content-ID"]


def test_the_operator_may_refuse_images_inside_the_html() -> None:
    """But not those that are plain attachments."""
    with pytest.raises(PartUnsupported):
        contents(IMAGE, InlineImages.REFUSE)
    ordinary = IMAGE.replace(b"inline", b"attachment")
    assert contents(ordinary, InlineImages.REFUSE).noted == []


def test_line_ends_become_lf() -> None:
    """CRLF, and also the CR that only an encoding can bring."""
    raw = b"Content-Transfer-Encoding: quoted-printable\r\n\r\none\r\ntwo=0D=0Athree=0Dfour"
    assert contents(raw).text == ["one\ntwo\nthree\nfour"]


# --- The property ---

TOKEN = "tok{}é"  # each leaf holds one of its own, beyond ASCII


@dataclass(frozen=True)
class Leaf:
    """A leaf to be written: type, file name or "", disposition or "", transfer encoding."""

    type: str
    filename: str
    disposition: str
    encoding: str


@dataclass(frozen=True)
class Box:
    """A multipart to be written."""

    type: str
    children: tuple[Leaf | Box, ...]


@dataclass(frozen=True)
class Placed:
    """A leaf where it was written."""

    leaf: Leaf
    token: str
    in_alternative: bool


TYPES = [
    "text/plain",
    "text/html",
    "text/calendar; method=REQUEST",
    "text/x-amp-html",
    "text/csv",
    "application/pdf",
    "image/png",
    "application/zip",
    "message/rfc822",
]
CARRIED = ["text/plain", "text/html", "text/calendar", "text/csv", "application/pdf", "image/png"]
BOXES = ["mixed", "alternative", "related", "x-own", "alternative", "mixed", "signed", "report"]
LEAVES = st.builds(
    Leaf,
    st.one_of(st.sampled_from(TYPES), st.sampled_from(CARRIED)),
    st.sampled_from(["", "", "", "a.pdf", "b.csv", "c.txt"]),
    st.sampled_from(["", "", "inline", "attachment"]),
    st.sampled_from(["8bit", "base64", "quoted-printable"]),
)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.builds(
        Box,
        st.sampled_from(BOXES[:-2] * 6 + BOXES[-2:]).map("multipart/".__add__),
        st.lists(inner, min_size=1, max_size=4).map(tuple),
    ),
    max_leaves=10,
)


def written(
    node: Leaf | Box, numbers: Iterator[int], placed: list[Placed], *, inside: bool
) -> bytes:
    """Octets of a node; its leaves are added to ``placed``."""
    number = next(numbers)
    if isinstance(node, Leaf):
        token = TOKEN.format(number)
        placed.append(Placed(node, token, inside))
        return _leaf_octets(node, token)
    below = inside or node.type == "multipart/alternative"
    parts = [written(one, numbers, placed, inside=below) for one in node.children]
    boundary = f"b{number}_"
    text = b"".join(b"--%s\r\n%s\r\n" % (boundary.encode(), part) for part in parts)
    return (
        f"Content-Type: {node.type}; boundary={boundary}\r\n\r\n".encode()
        + text
        + (f"--{boundary}--\r\n".encode())
    )


def _leaf_octets(leaf: Leaf, token: str) -> bytes:
    name = f'; filename="{leaf.filename}"' if leaf.filename else ""
    lines = [f"Content-Type: {leaf.type}", f"Content-Transfer-Encoding: {leaf.encoding}"]
    if leaf.disposition or name:
        lines.append(f"Content-Disposition: {leaf.disposition or 'inline'}{name}")
    octets = _ENCODERS[leaf.encoding](token.encode())
    return "\r\n".join([*lines, "", ""]).encode() + octets


_ENCODERS: dict[str, Callable[[bytes], bytes]] = {
    "8bit": bytes,
    "base64": binascii.b2a_base64,
    "quoted-printable": binascii.b2a_qp,
}


def refusable(node: Leaf | Box) -> bool:
    """Is there anything in the tree that the API cannot carry, wherever it stands?"""
    if isinstance(node, Box):
        own = node.type in {"multipart/signed", "multipart/report"}
        return own or any(map(refusable, node.children))
    base = node.type.partition(";")[0]
    named = bool(node.filename) or node.disposition == "attachment"
    if base in {"text/plain", "text/html"}:
        carried = not named or (base == "text/plain" and node.filename in {"a.pdf", "b.csv"})
        return not carried
    return base not in CARRIED


def ends(placed: Placed, found: Contents) -> int:
    """In how many places the leaf's token stands."""
    files = [base64.b64decode(one.content).decode() for one in found.attachments.items]
    return sum(placed.token in text for text in [*found.html, *found.text, *files])


@given(TREES)
def test_each_leaf_ends_in_exactly_one_place(tree: Leaf | Box) -> None:
    """html, text or a file; or left out as an alternative and noted; or the whole is refused."""
    placed: list[Placed] = []
    raw = written(tree, itertools.count(), placed, inside=False)
    try:
        found = contents(raw)
    except PartUnsupported:
        event("refused")
        assert refusable(tree)
        return
    event("carried")
    for one in placed:
        base = one.leaf.type.partition(";")[0]
        if ends(one, found) == 0:
            event("noted")
            assert one.in_alternative
            assert not one.leaf.filename
            assert one.leaf.disposition != "attachment"
            assert f"multipart/alternative.{base}" in found.noted
            assert found.html or found.text
        else:
            assert ends(one, found) == 1
        if base == "text/calendar" and ";" in one.leaf.type:
            assert "Content-Type.method" in found.noted
