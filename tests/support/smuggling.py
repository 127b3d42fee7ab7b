"""Every malformed end of data, and a judge that was written apart from the reader.

Each case is ``LEFT dot RIGHT`` in a message, with a complete second transaction behind it: whoever
takes the sequence for the end of data delivers a second message from a sender that nobody checked.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

SIDES = {
    "CRLF": b"\r\n",
    "LF": b"\n",
    "CR": b"\r",
    "LF-CR": b"\n\r",
    "CR-CR-LF": b"\r\r\n",
    "CRLF-NUL": b"\r\n\x00",
    "NUL-CRLF": b"\x00\r\n",
    "VT": b"\x0b",
    "FF": b"\x0c",
    "FS": b"\x1c",
    "GS": b"\x1d",
    "RS": b"\x1e",
    "NEL": "\u0085".encode(),
    "LS": "\u2028".encode(),
    "nothing": b"",
}
DOTS = {
    "dot": b".",
    "dots": b"..",
    "dot-SP": b". ",
    "dot-NUL": b".\x00",
    "NUL-dot": b"\x00.",
    "dot-TAB": b".\t",
}

HEAD = b"Subject: one\r\n\r\nhello"
EVIL_SENDER = "evil@x.test"
SECOND = (
    b"MAIL FROM:<evil@x.test>\r\nRCPT TO:<victim@x.test>\r\nDATA\r\n"
    b"Subject: two\r\n\r\nevil\r\n.\r\n"
)
_END = b"\r\n.\r\n"


@dataclass(frozen=True)
class Case:
    """One sequence, by name."""

    name: str
    octets: bytes

    @property
    def is_the_end(self) -> bool:
        """The one sequence that ends a message."""
        return self.octets == _END


def cases() -> Iterator[Case]:
    """The whole matrix: 15 x 6 x 15."""
    for left, before in SIDES.items():
        for name, dot in DOTS.items():
            for right, behind in SIDES.items():
                yield Case(f"{left} {name} {right}", before + dot + behind)


@dataclass(frozen=True)
class Verdict:
    """What must become of the message: its content, or None for a refusal; and where it ends."""

    content: bytes | None
    end: int


def judge(wire: bytes, *, strict: bool) -> Verdict:
    """The rules by line tokens, slowly; ``wire`` is everything behind 354."""
    seen = b"\r\n" + wire  # 354 stands for a line end
    at = seen.index(_END)
    message, whole = seen[2 : at + 2], seen[: at + len(_END)]
    end = at + len(_END) - 2
    lines = re.findall(rb"\r\n|\n|\r|[^\r\n]+", whole)
    if b"\r" in lines or _odd_dot(lines) or _odd_nul(lines) or (strict and b"\n" in lines):
        return Verdict(None, end)
    texts = re.split(rb"\r\n|\n", message)
    content = b"\r\n".join(text[1:] if text[:1] == b"." else text for text in texts)
    return Verdict(content, end)


def _odd_dot(tokens: list[bytes]) -> bool:
    around = zip(tokens, tokens[1:], tokens[2:], strict=False)
    ends = {b"\r\n", b"\n"}
    return any(
        dot == b"." and left in ends and right in ends and b"\n" in {left, right}
        for left, dot, right in around
    )


def _odd_nul(tokens: list[bytes]) -> bool:
    """NUL first or last in a line, or beside a dot."""
    texts = [token for token in tokens if token not in {b"\r\n", b"\n"}]
    return any(
        text[:1] == b"\x00" or text[-1:] == b"\x00" or b"\x00." in text or b".\x00" in text
        for text in texts
    )
