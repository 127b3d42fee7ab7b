"""The matrix of malformed ends of data, against the machine: one message, never two."""

from __future__ import annotations

from itertools import islice

import pytest

from smtp_gateway.smtp.effects import HookName, LineEndings
from tests.support.dialogue import Dialogue, settings
from tests.support.smuggling import EVIL_SENDER, HEAD, SECOND, SIDES, Case, cases, judge

MODES = [LineEndings.NORMALIZE, LineEndings.STRICT]
ALL = list(cases())


def play(
    wire: bytes, mode: LineEndings, sizes: int, **changes: object
) -> tuple[Dialogue, list[str]]:
    """Send the wire behind 354 in reads of this size."""
    d = Dialogue(settings(line_endings=mode, **changes)).in_data()
    said: list[str] = []
    for at in range(0, len(wire), sizes):
        said += d.say(wire[at : at + sizes])
    return d, said


def evil_was_heard(d: Dialogue) -> bool:
    """The second transaction was taken for one."""
    return any(call.name is HookName.MAIL and call.args[0] == EVIL_SENDER for call in d.calls)


def check(case: Case, wire: bytes, mode: LineEndings, d: Dialogue, said: list[str]) -> None:
    """Compare with the judge: replies, messages, senders."""
    verdict = judge(wire, strict=mode is LineEndings.STRICT)
    if verdict.content is None:
        assert said[0].startswith("554 5.6.0 "), case.name
        assert (len(said), d.mails, d.closed) == (1, [], True), case.name
        assert d.counts["emails_received", "rejected"] == 1
        assert not evil_was_heard(d), case.name
        return
    assert said[0] == "250 OK", case.name
    assert d.mails[0].content == verdict.content, case.name
    assert d.mails[0].sender == "a@sender.test"
    if verdict.end == len(wire):
        assert (len(said), len(d.mails)) == (1, 1), case.name
        assert not evil_was_heard(d), case.name


@pytest.mark.trap(20)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("left", SIDES)
def test_every_sequence_in_one_write(left: str, mode: LineEndings) -> None:
    """(a): 0 or 1 message, never the second sender, but behind the real end."""
    for case in ALL:
        if case.name.split()[0] == left:
            wire = HEAD + case.octets + SECOND
            check(case, wire, mode, *play(wire, mode, len(wire)))


@pytest.mark.trap(20)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("left", SIDES)
def test_every_sequence_octet_by_octet(left: str, mode: LineEndings) -> None:
    """(b): reads decide nothing."""
    for case in ALL:
        if case.name.split()[0] == left:
            wire = HEAD + case.octets + SECOND
            check(case, wire, mode, *play(wire, mode, 1))


@pytest.mark.parametrize("mode", MODES)
def test_sequences_split_at_every_position(mode: LineEndings) -> None:
    """(c), and (d) for the machine, to which a TLS record is a read: a sample of the matrix."""
    for case in islice(ALL, 0, None, 23):
        wire = HEAD + case.octets + SECOND
        for at in range(len(HEAD) - 1, len(HEAD) + len(case.octets) + 1):
            d = Dialogue(settings(line_endings=mode)).in_data()
            check(case, wire, mode, d, d.say(wire[:at]) + d.say(wire[at:]))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("boundary", [16_384, 65_536])
def test_sequences_across_the_boundaries_of_reads(boundary: int, mode: LineEndings) -> None:
    """(e): the sequence straddles 16 KiB and 64 KiB at each of its octets."""
    for case in islice(ALL, 0, None, 97):
        for before in range(len(case.octets) + 1):
            line = b"x" * (boundary - before - len(HEAD) - 2)
            wire = HEAD + b"\r\n" + line + case.octets + SECOND
            check(case, wire, mode, *play(wire, mode, boundary))


@pytest.mark.parametrize("mode", MODES)
def test_sequences_across_the_limit_of_discarding(mode: LineEndings) -> None:
    """(e): where patience ends inside the sequence, nothing was taken, and nothing acts."""
    limit = 500
    for case in islice(ALL, 0, None, 11):
        if case.is_the_end:
            continue
        for before in range(len(case.octets) + 1):
            body = HEAD + b"x" * (2 * limit - before - len(HEAD))
            wire = body + case.octets + SECOND
            for sizes in (len(wire), 7):
                d, said = play(wire, mode, sizes, message_size_limit_bytes=limit)
                assert said[0][:3] in {"552", "554"}, case.name
                assert (len(said), d.mails, d.closed) == (1, [], True), case.name
                assert not evil_was_heard(d), case.name


@pytest.mark.parametrize("mode", MODES)
def test_sequences_after_an_oversize_body(mode: LineEndings) -> None:
    """(f): a message that is refused already is read by the same rules."""
    for case in islice(ALL, 0, None, 3):
        if case.is_the_end:
            continue
        wire = HEAD + b"x" * 400 + case.octets + SECOND
        refused = judge(wire, strict=mode is LineEndings.STRICT).content is None
        d, said = play(wire, mode, 50, message_size_limit_bytes=300)
        assert said[0][:9] == ("554 5.6.0" if refused else "552 5.3.4"), case.name
        assert d.mails == []
        assert d.closed is refused
        if judge(wire, strict=False).end == len(wire):
            assert not evil_was_heard(d), case.name


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("sizes", [1, 10_000])
def test_sequences_first_after_354(sizes: int, mode: LineEndings) -> None:
    """(g): the reply 354 stands for a line end, and for no other one."""
    for case in ALL:
        if case.name.startswith("CRLF dot CRLF"):
            continue  # what is behind the end is a transaction in its own right
        wire = case.octets + SECOND
        check(case, wire, mode, *play(wire, mode, sizes))


@pytest.mark.parametrize("mode", MODES)
def test_the_real_end_ends_and_what_is_behind_it_waits(mode: LineEndings) -> None:
    """`CRLF . CRLF` ends the message in both modes; commands behind it are answered after it."""
    d, said = play(HEAD + b"\r\n.\r\nNOOP\r\n", mode, 10_000)
    assert said == ["250 OK", "250 OK"]
    assert d.mails[0].content == HEAD + b"\r\n"


@pytest.mark.parametrize("separator", ["VT", "FF", "FS", "GS", "RS", "NEL", "LS"])
def test_other_separators_are_content(separator: str) -> None:
    """Python's splitlines would split there; SMTP does not."""
    octets = SIDES[separator]
    d, said = play(b"A: b" + octets + b"." + octets + b"c\r\n.\r\n", LineEndings.STRICT, 10_000)
    assert said == ["250 OK"]
    assert d.mails[0].content == b"A: b" + octets + b"." + octets + b"c\r\n"


def test_the_kinds_of_refusal_are_counted() -> None:
    """smtp_line_ending_refusals_total, once a message."""
    for wire, kind in (
        (b"a\r.\r\n\r\n.\r\n", "bare_cr"),
        (b"a\n.\n\r\n.\r\n", "dot_line"),
        (b"a\r\n\x00.\r\n\r\n.\r\n", "nul"),
    ):
        d, _ = play(wire, LineEndings.NORMALIZE, 1)
        assert d.counts["line_ending_refusals", kind] == 1
        assert sum(n for key, n in d.counts.items() if key[0] == "line_ending_refusals") == 1
