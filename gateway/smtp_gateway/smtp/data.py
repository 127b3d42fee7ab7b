r"""The DATA reader: where a message ends, what it says, and why it must be refused.

A message ends at ``CR LF . CR LF`` and at nothing else, wherever reads fall; every server that
thought otherwise has been made to take two messages for one (SMTP smuggling, CVE-2023-51764 and
its kin). What other readers might take for a line end or for the end (bare CR, bare LF beside a
lone dot, NUL) is refused, so that nobody behind us can disagree about where a line ends.

It works on chunks: a few ``find``, ``count`` and ``replace`` per chunk and nothing per line, since
line-wise reading costs ten times as much. Each chunk joins what was held back of the one before: a
line end and the start of the line behind it, as far as they cannot be judged yet. So every rule
sees whole sequences, and the answer does not depend on how the bytes were split.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from smtp_gateway.smtp.effects import LineEndings

END = b"\r\n.\r\n"  # RFC 5321 4.1.1.4
_CR = 0x0D
# So much of a line's start is held back with its line end: more than END, and "Received:" whole.
_HELD_OCTETS = 16

# Needed only where a bare LF was seen: a lone dot that does not have CRLF on both sides. At the
# start of a block LF is bare, since a CR before it would have been held with it.
_DOT_LINE = re.compile(rb"\n\.\n|(?<!\r)\n\.\r\n")
# Some readers drop NUL, and then see another line than we do.
_NUL_BESIDE = re.compile(rb"\x00[\r\n.]|[\r\n.]\x00")


class Fault(IntEnum):
    """Why a message is refused at its end; the lowest that was found is the one told.

    The order is by consequence, not by place, so that it cannot depend on how bytes were split.
    """

    BARE_CR = 1
    NUL = 2
    DOT_LINE = 3
    BARE_LF = 4
    OVER_SIZE = 5
    HEADER_TOO_LARGE = 6
    ROUTING_LOOP = 7
    SHED = 8

    @property
    def breaks_lines(self) -> bool:
        """Line ends that readers disagree about: the connection ends with the refusal."""
        return self <= Fault.BARE_LF


@dataclass(frozen=True, slots=True)
class DataLimits:
    """Bounds of one message, in octets and in fields (smtp-server 3.4)."""

    message_bytes: int
    header_bytes: int
    header_fields: int
    received_fields: int


class Read(NamedTuple):
    """What one chunk brought.

    ``piece`` is content (dot-unstuffed, CRLF only), ``used`` the octets taken from the chunk:
    fewer than given only when ``ended`` or ``exhausted``. ``exhausted``: twice the size limit
    was read and there is still no end.
    """

    piece: bytes
    used: int
    ended: bool
    exhausted: bool


class DataReader:
    """Reads one message. After a fault no content comes out, but the end is still looked for."""

    def __init__(self, limits: DataLimits, line_endings: LineEndings) -> None:
        self.fault: Fault | None = None
        self.size = 0  # content octets, as RFC 1870 5 counts them
        self._limits = limits
        self._strict = line_endings is LineEndings.STRICT
        self._raw_left = 2 * limits.message_bytes
        # The reply 354 stands for a line end: `. CRLF` as the first line ends the message.
        self._held = b"\r\n"
        self._virtual = True
        self._header: _HeaderSection | None = _HeaderSection()

    def refuse(self, fault: Fault) -> None:
        """Take no more content; the reason that counts most is kept."""
        if self.fault is None or fault < self.fault:
            self.fault = fault

    def feed(self, chunk: bytes) -> Read:
        """Judge the next octets."""
        allowed = chunk if len(chunk) <= self._raw_left else chunk[: self._raw_left]
        block = self._held + allowed
        end = block.find(END)
        ended = end >= 0
        cut = end + 2 if ended else _cut(block)
        stop = end + len(END) if ended else len(block)
        used = stop - len(self._held)
        bare_lf = self._judge(block, stop)
        self._held = block[cut:stop]
        self._raw_left -= used
        piece = self._content(block[:cut], bare_lf=bare_lf)
        return Read(piece, used, ended, not ended and self._raw_left <= 0)

    def _judge(self, block: bytes, stop: int) -> bool:
        """Look for what is forbidden; tell whether there is a bare LF.

        What is held back is seen again with the next block, which changes nothing.
        """
        pairs = block.count(b"\r\n", 0, stop)
        returns = block.count(b"\r", 0, stop) - (block[stop - 1] == _CR)  # the last may have its LF
        bare_lf = block.count(b"\n", 0, stop) != pairs
        if returns != pairs:
            self.refuse(Fault.BARE_CR)
        if bare_lf and block.find(b"\n.", 0, stop) >= 0 and _DOT_LINE.search(block, 0, stop):
            self.refuse(Fault.DOT_LINE)
        if bare_lf and self._strict:
            self.refuse(Fault.BARE_LF)
        if block.find(b"\x00", 0, stop) >= 0 and _NUL_BESIDE.search(block, 0, stop):
            self.refuse(Fault.NUL)
        return bare_lf

    def _content(self, text: bytes, *, bare_lf: bool) -> bytes:
        """The text as the message holds it. Whole lines, each with the line end before it."""
        if bare_lf:
            text = text.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        text = text.replace(b"\r\n.", b"\r\n")  # RFC 5321 4.5.2
        if self._header is not None and text:
            self._read_header(self._header, text)
        if self._virtual and text:
            self._virtual = False
            text = text[2:]
        self.size += len(text)
        if self.size > self._limits.message_bytes:
            self.refuse(Fault.OVER_SIZE)
        return text if self.fault is None else b""

    def _read_header(self, header: _HeaderSection, text: bytes) -> None:
        if header.feed(text):
            self._header = None
        limits = self._limits
        if header.octets > limits.header_bytes or header.fields > limits.header_fields:
            self.refuse(Fault.HEADER_TOO_LARGE)
        if header.received > limits.received_fields:
            self.refuse(Fault.ROUTING_LOOP)  # RFC 5321 6.3


def _cut(block: bytes) -> int:
    """Where the part that can be given out ends.

    Before the last line end, whose line may still become the end or a dot to be removed; but
    if that line has already begun with something else, before the last octet, which may be a CR.
    """
    last = block.rfind(b"\n")
    start = last - 1 if last > 0 and block[last - 1] == _CR else last
    if last >= 0 and len(block) - start <= _HELD_OCTETS:
        return start
    return len(block) - 1


class _HeaderSection:
    """Counts the header section as it passes; each text begins in a line or with its line end."""

    def __init__(self) -> None:
        self.octets = 0
        self.fields = 0
        self.received = 0

    def feed(self, text: bytes) -> bool:
        """Count; true once the blank line, or the end of the message, has been seen."""
        blank = text.find(b"\r\n\r\n")
        # A text that ends in a line end is followed by another one, or by the end of the message.
        over = blank >= 0 or text.endswith(b"\r\n")
        part = text[:blank] if blank >= 0 else text.removesuffix(b"\r\n")
        folded = part.count(b"\r\n ") + part.count(b"\r\n\t")
        self.octets += len(part)
        self.fields += part.count(b"\r\n") - folded
        self.received += part.lower().count(b"\r\nreceived:")
        return over
