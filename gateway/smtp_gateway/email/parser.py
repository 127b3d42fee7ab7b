"""Bytes to a tree of parts, without copying the message.

The standard library's parser is not used on what strangers send: it holds every line as an object
of its own, so 25 MB of empty lines cost 1 GB of memory, and it tries every open boundary on each
line. This reader looks for boundaries in the bytes themselves; a part is a range of the message,
and depth, parts and header sections are bounded while reading. ``email.policy.compat32`` is its
referee: the tests compare both over three corpora and over generated trees.

A line ends at LF, with or without a CR before it, and nowhere else: VT, FF, FS, GS, RS, NEL, LS and
PS, at which ``str.splitlines`` would split, are text. Nothing found here is thrown away: a line
that is no header field begins the body, as it does for Postfix.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from smtp_gateway.email.headers import Field, MediaType, media_type, repaired
from smtp_gateway.errors import MessageTooComplex, MessageUnreadable

MAX_HEADER_BYTES = 1_048_576  # smtp-server 3.4: tens of kilobytes are normal
MAX_FIELDS = 2_000
MAX_DEPTH = 50
MAX_PARTS = 1_000
MAX_PART_FIELDS = 20_000  # of all parts together: twenty for each

_LF, _CR = 0x0A, 0x0D

_BLANK_LINE = re.compile(rb"\n\r?\n")
# RFC 5322 2.2: printable ASCII without colon; 4.5 allows blanks before the colon.
_NAME = re.compile(r"[!-9;-~]+")
_DIGEST_DEFAULT = MediaType("message/rfc822", {}, declared=False)  # RFC 2046 5.1.5
_TEXT_DEFAULT = MediaType("text/plain", {}, declared=False)  # RFC 2045 5.2


@dataclass(slots=True, eq=False)
class Part:
    """One node of the tree; ``start`` and ``end`` are the range of its body in ``content``.

    Attributes:
        media: its content type, or the default of where it stands.
        fields: its header section, in order.
        children: the parts of a multipart.
        epilogue: text stands behind the last part of this multipart, where no reader looks.
    """

    content: bytes
    start: int
    end: int
    fields: list[Field]
    media: MediaType
    children: list[Part] = field(default_factory=list)
    epilogue: bool = False

    @property
    def is_multipart(self) -> bool:
        """It holds parts and no content of its own."""
        return self.media.type.startswith("multipart/")

    def body(self) -> bytes:
        """The body as it stands in the message, transfer encoding included."""
        return self.content[self.start : self.end]

    def first(self, name: str) -> str | None:
        """Value of the first field called ``name`` (lower case); the others do not count."""
        for one in self.fields:
            if one.key == name:
                return one.value
        return None


def read_fields(content: bytes, start: int, end: int) -> tuple[list[Field], int]:
    """Header fields from ``start`` on, unfolded, and where the body begins.

    Raises:
        MessageTooComplex: the section is over its bounds.
        MessageUnreadable: a field without a name.
    """
    stop = min(end, start + MAX_HEADER_BYTES)
    if content[start : start + 2] == b"\r\n":
        return [], start + 2
    if content[start : start + 1] == b"\n":
        return [], start + 1
    blank = _BLANK_LINE.search(content, start, stop)
    section = content[start : blank.start() + 1 if blank else stop]
    fields, used = _split_fields(section)
    if used < len(section):
        return fields, start + used
    if blank is None and stop < end:
        raise MessageTooComplex(reason=f"header section over {MAX_HEADER_BYTES} octets")
    return fields, blank.end() if blank else stop


def _split_fields(section: bytes) -> tuple[list[Field], int]:
    """Fields of a section, and how many of its octets belong to them."""
    fields: list[Field] = []
    lines = section.decode("utf-8", "surrogateescape").split("\n")
    if not lines[-1]:
        lines.pop()
    first = 1 if lines and lines[0].startswith("From ") else 0  # the separator of an mbox file
    name, pieces = "", [""]
    for number, line in enumerate(lines[first:], first):
        text = line.removesuffix("\r")
        if text[:1] in {" ", "\t"} and name:
            pieces.append(text)
            continue
        if name:
            fields.append(_field(name, pieces))
        name, colon, value = text.partition(":")
        name = name.rstrip(" \t")
        if not colon or not _NAME.fullmatch(name):
            _refuse_nameless(colon, name)
            return fields, _octets(lines[:number])
        pieces = [value]
        if len(fields) >= MAX_FIELDS:
            raise MessageTooComplex(reason=f"more than {MAX_FIELDS} header fields")
    if name:
        fields.append(_field(name, pieces))
    return fields, len(section)


def _field(name: str, pieces: list[str]) -> Field:
    # RFC 5322 2.2.3: unfolding removes the line end alone, the blank after it stays.
    value = "".join(pieces) if len(pieces) > 1 else pieces[0]
    return Field(name, name.lower(), repaired(value.strip(" \t")))


def _refuse_nameless(colon: str, name: str) -> None:
    if colon and not name:
        raise MessageUnreadable(reason="a header field without a name")


def _octets(lines: list[str]) -> int:
    return sum(len(line.encode("utf-8", "surrogateescape")) + 1 for line in lines)


def read_tree(content: bytes, fields: list[Field], start: int) -> Part:
    """The tree of a message whose header section has been read.

    Raises:
        MessageTooComplex: too deep, too many parts, or a part's header section over its bounds.
        MessageUnreadable: a multipart with content but without its boundary.
    """
    root = Part(content, start, len(content), fields, _media(fields, _TEXT_DEFAULT))
    waiting = [(root, 1)]
    count, fields_left = 1, MAX_PART_FIELDS
    while waiting:
        part, depth = waiting.pop()
        if not part.is_multipart:
            continue
        if depth > MAX_DEPTH:
            raise MessageTooComplex(reason=f"parts nested deeper than {MAX_DEPTH}")
        default = _DIGEST_DEFAULT if part.media.type == "multipart/digest" else _TEXT_DEFAULT
        for begin, end in _ranges(part):
            count += 1
            if count > MAX_PARTS:
                raise MessageTooComplex(reason=f"more than {MAX_PARTS} parts")
            inner, body = read_fields(content, begin, end)
            fields_left -= len(inner)
            if fields_left < 0:
                raise MessageTooComplex(reason=f"more than {MAX_PART_FIELDS} fields in parts")
            child = Part(content, body, end, inner, _media(inner, default))
            if end == len(content) and not child.is_multipart:
                child.end = _without_line_end(content, body, end)  # as if a delimiter followed
            part.children.append(child)
            waiting.append((child, depth + 1))
    return root


def _media(fields: list[Field], default: MediaType) -> MediaType:
    for one in fields:
        if one.key == "content-type":
            return media_type(one.value, default)
    return default


def _ranges(part: Part) -> Iterator[tuple[int, int]]:
    """Where the parts of a multipart stand (RFC 2046 5.1.1); a missing last delimiter is borne.

    Parts behind the last delimiter count too: some programs give an inner multipart the boundary
    of the outer one, and what follows the inner end would be lost.
    """
    boundary = part.media.parameters.get("boundary", "").rstrip(" \t")
    begin, ended = -1, -1  # of the part being read; of the text behind a last delimiter
    found = 0
    if boundary:
        for line, after, closing in _delimiters(part, b"--" + _octets_of(boundary)):
            found += 1
            if found > 2 * MAX_PARTS:  # in a row they make no part, but cost time
                raise MessageTooComplex(reason=f"more than {2 * MAX_PARTS} boundaries")
            if 0 <= begin < line:  # two delimiters in a row are one
                yield begin, _without_line_end(part.content, begin, line)
            _mark_epilogue(part, ended, line)
            begin, ended = (-1, after) if closing else (after, -1)
    if begin >= 0:
        yield begin, part.end
    _mark_epilogue(part, ended, part.end)
    if not found and not _is_blank(part.content, part.start, part.end):
        raise MessageUnreadable(reason=f"{part.media.type} without its boundary")


def _mark_epilogue(part: Part, start: int, end: int) -> None:
    if start >= 0 and not _is_blank(part.content, start, end):
        part.epilogue = True


def _octets_of(boundary: str) -> bytes:
    return boundary.encode("utf-8", "surrogateescape")


def _delimiters(part: Part, delimiter: bytes) -> Iterator[tuple[int, int, bool]]:
    """Delimiter lines: where the line begins, where the next begins, whether it is the last."""
    content, end = part.content, part.end
    at = content.find(delimiter, part.start, end)
    while at >= 0:
        after = at + len(delimiter)
        if at == part.start or content[at - 1] == _LF:
            stop = content.find(b"\n", after, end)
            stop = end if stop < 0 else stop
            # RFC 2046 5.1.1: blanks may follow, and are to be ignored.
            tail = content[after:stop].rstrip(b" \t\r")
            if tail in {b"", b"--"}:
                yield at, min(stop + 1, end), bool(tail)
            after = stop
        at = content.find(delimiter, after, end)


def _without_line_end(content: bytes, begin: int, line: int) -> int:
    """The line end before a delimiter belongs to the delimiter (RFC 2046 5.1.1)."""
    end = line
    if end > begin and content[end - 1] == _LF:
        end -= 1
        if end > begin and content[end - 1] == _CR:
            end -= 1
    return end


def _is_blank(content: bytes, start: int, end: int) -> bool:
    return not content[start:end].strip()
