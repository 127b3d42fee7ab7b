"""Who gets a mail, and that each mail stays its own: over real sockets, judged by what arrived."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.end_to_end.conftest import Dialer
from tests.support.sandbox import Sandbox, recipients
from tests.support.tenants import BODY, SUBJECT, Tenant, letter, recipient


def headers(mail: dict[str, Any]) -> list[tuple[str, str]]:
    """``additional_headers`` of a captured request."""
    return [(each["name"], each["value"]) for each in mail["body"]["additional_headers"]]


@pytest.mark.trap(5)
def test_trap_5_recipients_come_from_the_envelope_only(
    dial: Dialer, tenant: Tenant, sandbox: Sandbox
) -> None:
    """RCPT differs from To, Cc and Bcc: only RCPT gets mail, and Bcc is gone."""
    content = letter(tenant, "Cc: cc@example.org", "Bcc: bcc@example.org, hidden@example.org")

    assert dial.as_tenant(tenant).mail(tenant.sender, [recipient()], content).startswith("250 Ok ")

    (mail,) = sandbox.emails()
    assert mail["recipient"] == "ada@example.org"
    assert [name for name, _ in headers(mail)] == ["Message-ID"]
    assert "example.org" not in json.dumps(mail["body"]).replace("ada@example.org", "")


@pytest.mark.trap(6)
def test_trap_6_every_distinct_recipient_gets_one_mail(
    dial: Dialer, tenant: Tenant, sandbox: Sandbox
) -> None:
    """Three recipients are three calls; one that is named twice is one."""
    names = ["ada@example.org", "Ada@example.org", "ada@EXAMPLE.ORG", "bob@example.org"]

    reply = dial.as_tenant(tenant).mail(tenant.sender, names, letter(tenant))

    assert reply.startswith("250 Ok ")
    arrived = sorted(recipients(sandbox.accepted()))
    assert arrived == ["Ada@example.org", "ada@example.org", "bob@example.org"]


@pytest.mark.trap(6)
def test_trap_6_a_hundred_recipients_are_a_hundred_mails(
    dial: Dialer, tenant: Tenant, sandbox: Sandbox
) -> None:
    """The limit of recipients can be used in full; one more is 452, and the others get theirs."""
    names = [f"r{number}@example.org" for number in range(100)]
    wire = dial.as_tenant(tenant)
    assert wire.say(f"MAIL FROM:<{tenant.sender}>") == "250 OK"
    said = wire.all_say(f"RCPT TO:<{name}>" for name in [*names, "one@example.org"])
    assert said[:100] == ["250 OK"] * 100
    assert said[100].startswith("452 4.5.3 Too many recipients, limit 100 [")

    assert wire.go_on([], letter(tenant)).startswith("250 Ok ")
    assert sorted(recipients(sandbox.accepted())) == sorted(names)


@pytest.mark.trap(13)
@pytest.mark.trap(22)
def test_trap_22_a_hundred_messages_on_one_connection_keep_their_own_content(
    dial: Dialer, tenant: Tenant, sandbox: Sandbox
) -> None:
    """Each message arrives with its own recipient and body, over a handful of API connections."""
    wire = dial.as_tenant(tenant)
    for number in range(100):
        content = letter(tenant, body=f"{BODY} {number}\r\n")
        said = wire.mail(tenant.sender, [f"r{number}@example.org"], content)
        assert said.startswith("250 Ok "), said

    found = [(each["recipient"], each["body"]["content"]["text"]) for each in sandbox.accepted()]
    assert found == [(f"r{n}@example.org", f"{BODY} {n}\n") for n in range(100)]
    # Some may be open since other tests; a client for each message would need a hundred.
    assert sandbox.connections()["total"] <= 20


@pytest.mark.trap(13)
def test_trap_13_messages_at_once_take_no_more_connections_than_calls(
    dial: Dialer, tenant: Tenant, sandbox: Sandbox
) -> None:
    """Ten clients with ten messages each: about as many connections as calls in flight."""
    wires = [dial.as_tenant(tenant) for _ in range(10)]
    for _ in range(10):
        for wire in wires:
            wire.begin(tenant.sender, [recipient()])
        for wire in wires:
            wire.send(letter(tenant) + b".\r\n")
        assert all(wire.reply().startswith("250 Ok ") for wire in wires)

    assert len(sandbox.accepted()) == 100
    assert sandbox.connections()["total"] <= 30


@pytest.mark.trap(23)
@pytest.mark.parametrize(
    "way_out",
    [
        pytest.param(["RSET"], id="RSET"),
        pytest.param(["EHLO again.example"], id="EHLO"),
        pytest.param(["HELO again.example"], id="HELO"),
        pytest.param(["RCPT TO:<no address", "RSET"], id="error"),
    ],
)
def test_trap_23_nothing_of_an_abandoned_message_is_left(
    dial: Dialer, tenant: Tenant, sandbox: Sandbox, way_out: list[str]
) -> None:
    """The second message has its own recipients, whatever ended the first."""
    wire = dial.as_tenant(tenant)
    wire.say(f"MAIL FROM:<{tenant.sender}>")
    assert wire.say("RCPT TO:<first@example.org>") == "250 OK"
    for line in way_out:
        wire.say(line)

    assert wire.mail(tenant.sender, ["second@example.org"], letter(tenant)).startswith("250 Ok ")
    assert recipients(sandbox.emails()) == ["second@example.org"]


@pytest.mark.trap(23)
@pytest.mark.parametrize(
    ("content", "refusal"),
    [
        (b"Subject: no sender\r\n\r\nx\r\n", "550 5.6.0 From"),
        (b"From: nobody@tenant.example\r\n\r\nx\r\n", "550 5.7.1 "),
    ],
)
def test_trap_23_nothing_of_a_refused_message_is_left(
    dial: Dialer, tenant: Tenant, sandbox: Sandbox, content: bytes, refusal: str
) -> None:
    """After an error at the end of data the next message begins from nothing."""
    wire = dial.as_tenant(tenant)
    assert wire.mail(tenant.sender, ["first@example.org"], content).startswith(refusal)
    assert wire.say("RCPT TO:<stray@example.org>").startswith("503 5.5.1 ")

    assert wire.mail(tenant.sender, ["second@example.org"], letter(tenant)).startswith("250 Ok ")
    assert recipients(sandbox.emails()) == ["second@example.org"]


@pytest.mark.trap(21)
def test_trap_21_no_bare_line_end_is_passed_on(
    dial: Dialer, tenant: Tenant, sandbox: Sandbox
) -> None:
    """LF line ends and folded fields leave no control character in any header or the subject."""
    content = letter(tenant, "X-Folded: one\r\n\ttwo", "X-Word: =?utf-8?q?a=0D=0AX-Evil:_b?=")
    lines = content.replace(b"\r\n", b"\n")
    wire = dial.as_tenant(tenant)
    wire.begin(tenant.sender, [recipient()])
    wire.send(lines + b"\r\n.\r\n")
    assert wire.reply().startswith("250 Ok ")

    (mail,) = sandbox.accepted()
    values = [value for _, value in headers(mail)] + [mail["body"]["content"]["subject"]]
    assert [value for value in values if not value.isascii() or set(value) & set("\r\n\0")] == []
    assert [name for name, _ in headers(mail)] == ["Message-ID", "X-Folded", "X-Word"]
    assert mail["body"]["content"]["subject"].startswith(SUBJECT)


@pytest.mark.trap(21)
@pytest.mark.parametrize("forged", [b"X-A: b\rBcc: evil@example.org", b"X-A: b\r\r\nX-B: c"])
def test_trap_21_a_bare_cr_refuses_the_message(
    dial: Dialer, tenant: Tenant, sandbox: Sandbox, forged: bytes
) -> None:
    """Python's parser, like others, takes CR for a line end, so it can forge a header line."""
    wire = dial.as_tenant(tenant)
    wire.begin(tenant.sender, [recipient()])
    wire.send(forged + b"\r\n" + letter(tenant) + b".\r\n")

    assert wire.reply().startswith("554 5.6.0 Bare CR")
    assert wire.closes()
    assert sandbox.emails() == []


@pytest.mark.trap(35)
def test_trap_35_headers_are_mapped_and_not_repeated(
    dial: Dialer, tenant: Tenant, sandbox: Sandbox
) -> None:
    """The display name is no address, MIME-Version does not travel, an empty text is left out."""
    content = letter(
        tenant,
        "MIME-Version: 1.0",
        "MIME-Version: 1.0",
        "X-Twice: first",
        "X-Twice: second",
        "Content-Type: multipart/alternative; boundary=b",
        sender=f'"Otter, Velvet" <{tenant.sender}>',
        body="--b\r\nContent-Type: text/plain\r\n\r\n\r\n--b\r\n"
        "Content-Type: text/html\r\n\r\n<p>crimson heron</p>\r\n--b--\r\n",
    )

    assert dial.as_tenant(tenant).mail(tenant.sender, [recipient()], content).startswith("250 Ok ")

    (mail,) = sandbox.accepted()
    body = mail["body"]
    assert body["sender"] == {"id": tenant.sender_id, "name": "Otter, Velvet"}
    assert body["email"] == recipient()
    assert body["content"]["html"] == "<p>crimson heron</p>"
    assert "text" not in body["content"]
    assert headers(mail)[1:] == [("X-Twice", "first"), ("X-Twice", "second")]


ADDING = (
    'X-SMTPAPI: {"to": ["evil@example.org"]}',
    'x-smtpapi:\r\n {"to":\r\n  ["evil@example.org"]}',
    "X-MC-BccAddress: evil@example.org",
    "X-Mc-bccaddress: =?utf-8?b?ZXZpbEBleGFtcGxlLm9yZw==?=",
    'X-MSYS-API: {"cc": [{"email": "evil@example.org"}]}',
    'X-SMTPAPI: {"category": "' + "x" * 1200 + '", "to": ["evil@example.org"]}',
)


@pytest.mark.trap(36)
@pytest.mark.parametrize("field", ADDING, ids=range(len(ADDING)))
def test_trap_36_a_header_that_adds_recipients_refuses_the_message(
    dial: Dialer, tenant: Tenant, sandbox: Sandbox, field: str
) -> None:
    """However it is written: the reply names the header, and nobody gets anything."""
    name = field.partition(":")[0]

    reply = dial.as_tenant(tenant).mail(tenant.sender, [recipient()], letter(tenant, field))

    assert reply.startswith(f"550 5.6.0 {name}: ")
    assert sandbox.emails() == []


@pytest.mark.trap(36)
def test_trap_36_control_headers_are_read_folded_and_encoded(
    dial: Dialer, tenant: Tenant, sandbox: Sandbox
) -> None:
    """Tags as encoded words, folded and far over 998 octets, are read; none reaches the mail."""
    many = ",\r\n ".join(f"tag-{number}" for number in range(300))
    content = letter(tenant, "X-Tags: =?utf-8?q?caf=C3=A9?=", f"X-Tags: {many}")

    assert dial.as_tenant(tenant).mail(tenant.sender, [recipient()], content).startswith("250 Ok ")

    (mail,) = sandbox.accepted()
    assert mail["body"]["tags"] == ["cafe", *(f"tag-{number}" for number in range(19))]
    assert [name for name, _ in headers(mail)] == ["Message-ID"]


@pytest.mark.trap(37)
def test_trap_37_every_reply_is_one_line_with_code_and_space(dial: Dialer, tenant: Tenant) -> None:
    """A long dialogue of good and bad commands; the client checks the form of each reply."""
    wire = dial().secure()
    anonymous = ["MAIL FROM:<a@b.example>", "VRFY x", "EXPN x", "HELP", "NOOP"]
    assert [said[:3] for said in wire.all_say(anonymous)] == ["530", "530", "502", "214", "250"]
    assert wire.say("AUTH PLAIN") == "334 "  # Go needs the space
    assert wire.say("*").startswith("501 5.7.0 ")
    wire.close()
    wire = dial.as_tenant(tenant)
    commands = {
        "MAIL FROM:<a@b.example> FROB=1": "555 5.5.4",
        "MAIL FROM:<a@b.example> BODY=BINARYMIME": "555 5.5.4",
        "MAIL FROM:<a@b.example> SMTPUTF8": "555 5.6.7",
        "MAIL FROM:<a@b.example> SIZE=99999999999": "552 5.3.4",
        "RCPT TO:<a@b.example>": "503 5.5.1",
        "DATA": "503 5.5.1",
        "MAIL FROM:<>": "250 OK",
        "RCPT TO:<>": "501 5.1.3",
        "RCPT TO:<a@localhost>": "554 5.1.2",
        "RCPT TO:<Postmaster>": "550 5.1.1",
        "RCPT TO:<é@b.example>": "553 5.6.7",
        "BDAT 5 LAST": "500 5.5.1",
        "AUTH PLAIN =": "503 5.5.1",
        "STARTTLS": "503 5.5.1",
        "VRFY x": "252 Can",
        "RSET": "250 OK",
        "QUIT": "221 Bye",
    }
    said = [wire.say(command) for command in commands]
    assert [reply[: len(start)] for reply, start in zip(said, commands.values(), strict=True)] == (
        list(commands.values())
    )
