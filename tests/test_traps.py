"""Mistakes that were seen in real gateways, and that each has a test here.

A test that proves one carries ``@pytest.mark.trap(number)``; it stands where it can be proved best:
most with the running gateway in ``tests/end_to_end``, others beside the part that they are about.
"""

from __future__ import annotations

from tests.support.marks import marked, named_after

TRAPS = {
    1: "login state keyed by client address",
    2: "credential cache keyed by user name",
    3: "accept-all or unchecked AUTH",
    4: "AUTH offered but not understood in each of its forms",
    5: "recipients from headers",
    6: "only the first recipient, or only To, forwarded",
    7: "outage mapped to 5xx",
    8: "250 on partial failure with a temporary rest",
    9: "429 in the middle: somebody gets the mail twice",
    10: "blind repeat after a time-out",
    11: "250 while the output failed",
    12: "provider's text copied into the reply",
    13: "a new HTTP client per message or recipient",
    14: "idle timer blind to DATA or to the API call",
    15: "time-out without 421",
    16: "NOOP keeps an anonymous session alive",
    17: "endless line, endless DATA, endless header",
    18: "EOF or reset while the API works",
    19: "bytes after STARTTLS; second STARTTLS",
    20: "a non-standard end of data ends a message",
    21: "bare CR or LF passed on",
    22: "two messages on one connection mixed",
    23: "data of the first message left after RSET, error or EHLO",
    24: "counters read, then written",
    25: "failed logins counted per attempt",
    26: "lock-out usable against a victim",
    27: "PROXY header from anybody; PROXY without implicit TLS",
    28: "Retry-After ignored or misread",
    29: "readiness constant, or tied to the API",
    30: "pre-stop that never ends; exit at SIGTERM",
    31: "421 in answer to a dot",
    32: "certificate reload by file watch",
    33: "settings that nothing reads",
    34: "mail, addresses or secrets in the log",
    35: "repeated headers, raw From, empty text",
    36: "control headers that add recipients",
    37: "a reply over two lines, or code without a space",
    38: "delay after a failed login that holds up others",
    39: "one tenant's 429 or slowness felt by another",
    40: "large mail stalls the loop",
    41: "self-signed certificate made in silence",
}


def test_every_trap_has_a_test() -> None:
    """Forty-one of them, and no marker names another."""
    assert len(TRAPS) == 41
    assert sorted(map(int, map(str, marked("trap")))) == sorted(TRAPS)


def test_a_test_named_after_a_trap_carries_its_mark() -> None:
    """A name alone would not be counted, and a mark of another number would mislead."""
    claimed = marked("trap")
    wrong = [name for name, number in named_after("trap") if name not in claimed.get(number, [])]
    assert wrong == []
