"""The matrix of malformed ends of data over real TLS, judged by what the sandbox holds.

Every ``LEFT dot RIGHT`` goes out with a complete second transaction behind it. Whatever the mode,
the API gets the first message or none, and never anything from or for the second.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

import pytest

from tests.end_to_end.conftest import Dialer, Dialers, Gateways
from tests.support.gateway import GatewayProcess
from tests.support.sandbox import Sandbox, recipients
from tests.support.smuggling import SIDES, Case, cases, judge
from tests.support.tenants import BODY, SUBJECT, Tenant, letter
from tests.support.wire import Wire, eventually, plain

LIMIT_BYTES = 131_072
ALL = list(cases())
MODES = ("normalize", "strict")


@pytest.fixture(scope="module", params=MODES)
def mode(request: pytest.FixtureRequest) -> str:
    """How a bare LF is taken."""
    return str(request.param)


@pytest.fixture(scope="module")
def hostile(gateways: Gateways, mode: str) -> Iterator[GatewayProcess]:
    """A gateway of that mode with a small size limit."""
    variables = {"SMTP_LINE_ENDINGS": mode, "MESSAGE_SIZE_LIMIT": str(LIMIT_BYTES)}
    with gateways(variables) as gateway:
        yield gateway


class Attacker:
    """A customer who sends a sequence, and says what became of it."""

    def __init__(self, dial: Dialer, tenant: Tenant, sandbox: Sandbox, mode: str) -> None:
        self._dial = dial
        self._tenant = tenant
        self._sandbox = sandbox
        self._strict = mode == "strict"
        self._wire: Wire | None = None
        self._number = 0
        self.checked = 0

    def head(self) -> bytes:
        """The beginning of a message of its own; the line is not ended."""
        self._number += 1
        sender = self._tenant.sender
        return f"From: {sender}\r\nSubject: {SUBJECT} {self._number}\r\n\r\n{BODY}".encode()

    def second(self) -> bytes:
        """What must not act: another message, to somebody else, in due form."""
        return (
            f"MAIL FROM:<evil@tenant.example>\r\nRCPT TO:<victim@example.org>\r\nDATA\r\n"
            f"From: {self._tenant.sender}\r\nSubject: two\r\n\r\nevil\r\n.\r\n"
        ).encode()

    def _in_data(self) -> Wire:
        """In DATA; the connection is kept as long as it lives."""
        tenant = self._tenant
        lines = [f"MAIL FROM:<{tenant.sender}>", "RCPT TO:<first@example.org>"]
        if self._wire is None:
            self._wire = self._dial(implicit=True)
            assert self._wire.reply().startswith("220 ")
            lines = ["EHLO x", f"AUTH PLAIN {plain(tenant.username, tenant.password)}", *lines]
        said = self._wire.all_say([*lines, "DATA"])
        assert said[-1].startswith("354 "), said
        return self._wire

    def attack(
        self,
        case: Case,
        body: bytes,
        *,
        starts: tuple[str, ...] = ("250 Ok ",),
        whole: int = 0,
        record: int = 0,
        segment: int = 0,
    ) -> None:
        """Send ``body`` and the second transaction behind 354, and compare with the judge.

        Args:
            case: for the report.
            body: what ends in the sequence.
            starts: how the reply may begin where the judge has nothing against the line ends.
            whole: so many octets go out in one piece before anything is split.
            record: octets per TLS record.
            segment: octets of ciphertext per write to the socket.
        """
        octets = body + self.second()
        verdict = judge(octets, strict=self._strict)
        wire = self._in_data()
        if whole:
            wire.send(octets[:whole])
        wire.send(octets[whole:], record=record, segment=segment)
        if verdict.content is None:
            starts = ("554 5.6.0 ",)
            said = self._last_words()
        elif verdict.end < len(octets):  # what follows the real end begins with a NUL
            said = self._last_words()
            assert said.pop().startswith("500 5.5.2 Lines must end in CRLF"), case.name
        else:
            said = [wire.reply()]
            assert wire.say("NOOP") == "250 OK", case.name  # no other reply was owed
        assert [line for line in said if line.startswith(starts)] == said, (case.name, said)
        assert len(said) == 1, (case.name, said)
        self._compare(case, verdict.content if said[0].startswith("250") else None)

    def refused(self, case: Case, body: bytes, starts: tuple[str, ...]) -> None:
        """Send a message during which the gateway has to lose its patience."""
        self._in_data().send(body + self.second())
        said = self._last_words()
        assert [line for line in said if line.startswith(starts)] == said, (case.name, said)
        assert len(said) == 1, (case.name, said)
        self._compare(case, None)

    def _last_words(self) -> list[str]:
        assert self._wire is not None
        with self._wire as wire:
            self._wire = None
            return wire.replies()

    def _compare(self, case: Case, content: bytes | None) -> None:
        """What the sandbox holds: the first message as it was, or nothing."""
        mails = self._sandbox.emails()
        self._sandbox.forget()
        self.checked += 1
        arrived = [(mail["recipient"], mail["body"]["content"]["text"]) for mail in mails]
        text = (content or b"").partition(b"\r\n\r\n")[2].decode().replace("\r\n", "\n")
        expected = [] if content is None else [("first@example.org", text)]
        assert arrived == expected, case.name


@pytest.fixture
def attacker(
    dial_to: Dialers, hostile: GatewayProcess, tenant: Tenant, sandbox: Sandbox, mode: str
) -> Attacker:
    """Who sends the sequences of a test."""
    return Attacker(dial_to(hostile), tenant, sandbox, mode)


def sample(step: int, begin: int = 0) -> Iterable[Case]:
    """Every so manyth case but the real end, whose second transaction is one in its own right."""
    return (case for case in islice(ALL, begin, None, step) if not case.is_the_end)


@pytest.mark.trap(20)
@pytest.mark.setting("smtp_line_endings")
@pytest.mark.parametrize("left", SIDES)
def test_trap_20_every_sequence_in_one_write(attacker: Attacker, left: str) -> None:
    """(a): 0 or 1 message, one reply, never the second sender."""
    for case in sample(1):
        if case.name.split()[0] == left:
            attacker.attack(case, attacker.head() + case.octets)
    assert attacker.checked >= 89


@pytest.mark.trap(20)
def test_trap_20_octet_by_octet(attacker: Attacker) -> None:
    """(b): each octet of the sequence and of what follows is a TLS record of its own."""
    for case in sample(31):
        head = attacker.head()
        attacker.attack(case, head + case.octets, whole=len(head), record=1)


@pytest.mark.trap(20)
def test_trap_20_split_at_every_position(attacker: Attacker) -> None:
    """(c), (d): two TLS records, the split wherever the sequence has room for one."""
    for case in sample(41, 5):
        for at in range(len(case.octets) + 1):
            head = attacker.head()
            attacker.attack(case, head + case.octets, whole=len(head) + at)


@pytest.mark.trap(20)
def test_trap_20_tcp_segments_inside_a_record(attacker: Attacker) -> None:
    """(d): the split falls within a TLS record."""
    for case in sample(61, 7):
        attacker.attack(case, attacker.head() + case.octets, segment=7)


@pytest.mark.trap(20)
@pytest.mark.parametrize("boundary", [16_384, 65_536])
def test_trap_20_across_the_boundaries_of_reads(attacker: Attacker, boundary: int) -> None:
    """(e): the sequence straddles 16 KiB and 64 KiB."""
    for case in sample(173, 11):
        for before in range(len(case.octets) + 1):
            head = attacker.head() + b"\r\n"
            line = b"x" * (boundary - before - len(head))
            attacker.attack(case, head + line + case.octets)


@pytest.mark.trap(20)
def test_trap_20_across_the_limit_of_discarding(attacker: Attacker) -> None:
    """(e): where patience ends inside the sequence nothing was taken, and nothing acts."""
    for case in sample(173, 13):
        for before in range(len(case.octets) + 1):
            head = attacker.head() + b"\r\n"
            line = b"x" * (2 * LIMIT_BYTES - before - len(head))
            attacker.refused(case, head + line + case.octets, ("552 5.3.4 ", "554 5.6.0 "))


@pytest.mark.trap(20)
def test_trap_20_after_an_oversize_body(attacker: Attacker) -> None:
    """(f): a message that is refused already is read by the same rules."""
    for case in sample(37, 3):
        body = attacker.head() + b"\r\n" + b"x" * LIMIT_BYTES + case.octets
        attacker.attack(case, body, starts=("552 5.3.4 ",))


@pytest.mark.trap(20)
def test_trap_20_first_after_354(attacker: Attacker) -> None:
    """(g): the reply 354 stands for a line end, and for no other one."""
    for case in sample(7, 2):
        attacker.attack(case, case.octets, starts=("550 5.6.0 ",))


@pytest.mark.trap(20)
def test_trap_20_two_mails_in_due_form_are_two_mails(
    dial_to: Dialers, hostile: GatewayProcess, tenant: Tenant, sandbox: Sandbox
) -> None:
    """Commands behind the real end are answered after the message's own reply, in order."""
    wire = dial_to(hostile).as_tenant(tenant)
    wire.begin(tenant.sender, ["first@example.org"])
    group = f"MAIL FROM:<{tenant.sender}>\r\nRCPT TO:<second@example.org>\r\nDATA\r\n"
    wire.send(letter(tenant) + b".\r\n" + group.encode())
    assert [wire.reply()[:6] for _ in range(4)] == ["250 Ok", "250 OK", "250 OK", "354 En"]
    wire.send(letter(tenant) + b".\r\n")
    assert wire.reply().startswith("250 Ok ")
    assert recipients(sandbox.accepted()) == ["first@example.org", "second@example.org"]


@pytest.mark.trap(20)
@pytest.mark.parametrize(
    ("octets", "reply"),
    [
        (b"DATA\r\nFrom: a@b.example\r\n\r\nx\r\n.\r\n", "554 5.5.0 "),
        (b"NOOP\nMAIL FROM:<evil@tenant.example>\r\n", "500 5.5.2 Lines must end in CRLF"),
        (b"NOOP\rMAIL FROM:<evil@tenant.example>\r\n", "500 5.5.2 Lines must end in CRLF"),
        (b"NO\x00OP\r\n", "500 5.5.2 Lines must end in CRLF"),
    ],
    ids=["before 354", "LF", "CR", "NUL"],
)
def test_trap_20_commands_with_other_ends_close_the_connection(
    dial_to: Dialers,
    hostile: GatewayProcess,
    tenant: Tenant,
    sandbox: Sandbox,
    octets: bytes,
    reply: str,
) -> None:
    """One reply, then the end, and nothing of what followed was done."""
    wire = dial_to(hostile).as_tenant(tenant)
    assert wire.say(f"MAIL FROM:<{tenant.sender}>") == "250 OK"
    assert wire.say("RCPT TO:<first@example.org>") == "250 OK"
    wire.send(octets)
    assert [said[: len(reply)] for said in wire.replies()] == [reply]
    assert sandbox.emails() == []


@pytest.mark.trap(20)
def test_trap_20_without_its_end_a_message_is_none(
    dial_to: Dialers, hostile: GatewayProcess, tenant: Tenant, sandbox: Sandbox
) -> None:
    """The client is gone before the end of data: nothing is sent, and it counts as aborted."""
    series = 'smtp_emails_received_total{status="aborted"}'
    before = hostile.metric(series)
    for end in (b"", b".", b".\r", b"\n.\n"):
        wire = dial_to(hostile).as_tenant(tenant)
        wire.begin(tenant.sender, ["first@example.org"])
        wire.send(letter(tenant) + end)
        wire.close()
    eventually(lambda: hostile.metric(series) == before + 4, "four messages were aborted")
    assert sandbox.emails() == []


@pytest.mark.trap(19)
def test_trap_19_nothing_said_in_clear_acts_in_tls(
    dial_to: Dialers, hostile: GatewayProcess, tenant: Tenant, sandbox: Sandbox
) -> None:
    """Octets behind STARTTLS are dropped, and the session begins anew: EHLO is needed again."""
    wire = dial_to(hostile)()
    assert wire.reply().startswith("220 ")
    assert "STARTTLS" in wire.say("EHLO clear.example")
    wire.send(b"STARTTLS\r\nEHLO injected.example\r\nNOOP\r\n")
    assert wire.reply().startswith("220 ")
    wire.begin_tls()
    login = f"AUTH PLAIN {plain(tenant.username, tenant.password)}"
    assert wire.say(login).startswith("503 5.5.1 Send EHLO first")

    hello = wire.say("EHLO client.example")
    assert "STARTTLS" not in hello
    assert wire.say("STARTTLS").startswith("503 5.5.1 TLS already active")
    assert wire.say(login).startswith("235 ")
    assert wire.say(f"MAIL FROM:<{tenant.sender}>") == "250 OK"
    assert wire.say("STARTTLS").startswith("503 5.5.1 ")
    assert wire.go_on(["first@example.org"], letter(tenant)).startswith("250 Ok ")
    assert recipients(sandbox.emails()) == ["first@example.org"]


@pytest.mark.trap(19)
def test_trap_19_before_tls_there_is_no_transaction(
    dial_to: Dialers, hostile: GatewayProcess, tenant: Tenant
) -> None:
    """Neither a login nor a mail begins in clear; STARTTLS takes no argument."""
    wire = dial_to(hostile)()
    assert wire.reply().startswith("220 ")
    assert "AUTH" not in wire.say("EHLO clear.example")
    for line in (f"AUTH PLAIN {plain(tenant.username, tenant.password)}", "MAIL FROM:<a@b.cd>"):
        assert wire.say(line).startswith("530 5.7.0 Must issue a STARTTLS command first [")
    assert wire.say("STARTTLS now").startswith("501 5.5.4 ")
