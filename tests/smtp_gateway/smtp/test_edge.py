"""One connection over a real socket, under both event loops."""

from __future__ import annotations

import asyncio
import itertools
import ssl
from pathlib import Path
from typing import Any

import pytest

from smtp_gateway.smtp.effects import TlsMode
from smtp_gateway.smtp.listener import Listener
from tests.support.edge import HOST, LOGIN, RecordingHandler, serving
from tests.support.gateway import Certificates

EVERY_LOOP = True  # see conftest

IMPLICIT = Listener(HOST, 0, TlsMode.IMPLICIT)


async def test_takes_a_mail_over_starttls(tmp_path: Path, certificates: Certificates) -> None:
    """The whole dialogue; the content is what was sent, unstuffed."""
    async with serving(tmp_path, certificates) as rig:
        client = await rig.in_data()
        await client.send(b"Subject: x\r\n\r\nhello\r\n..dot\r\n.\r\n")
        assert await client.reply() == "250 Ok 1"
        assert await client.ask("QUIT") == "221 Bye"
        assert await client.closed()
    (mail,) = rig.handler.mails
    assert mail.sender == "a@x.test"
    assert mail.recipients == ["b@y.test"]
    assert mail.content == b"Subject: x\r\n\r\nhello\r\n.dot\r\n"


async def test_takes_a_mail_over_implicit_tls(tmp_path: Path, certificates: Certificates) -> None:
    """The same after a handshake at once; STARTTLS is neither offered nor accepted."""
    async with serving(tmp_path, certificates, listeners=(IMPLICIT,)) as rig:
        client = await rig.connect()
        await client.start_tls()
        assert (await client.reply()).startswith("220 ")
        assert "STARTTLS" not in await client.ask("EHLO x")
        assert (await client.ask("STARTTLS")).startswith("503 ")
        assert (await client.ask(f"AUTH PLAIN {LOGIN}")).startswith("235 ")
        await client.send(b"MAIL FROM:<a@x.test>\r\nRCPT TO:<b@y.test>\r\nDATA\r\n")
        assert [(await client.reply())[:3] for _ in range(3)] == ["250", "250", "354"]
        await client.send(b"x\r\n.\r\n")
        assert await client.reply() == "250 Ok 1"
    assert rig.handler.sessions[0].ssl["version"] == "TLSv1.3"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_counts_handshakes_by_version(
    tmp_path: Path, certificates: Certificates, version: ssl.TLSVersion
) -> None:
    """TLS 1.2 and 1.3 both work, in the metric and in the session's line."""
    context = ssl.create_default_context(cafile=str(certificates.ca_path))
    context.minimum_version = context.maximum_version = version
    name = {"TLSv1_2": "TLSv1.2", "TLSv1_3": "TLSv1.3"}[version.name]
    async with serving(tmp_path, certificates, listeners=(IMPLICIT,)) as rig:
        client = await rig.connect()
        await client.start_tls(context)
        await client.reply()
        await client.ask("QUIT")
        await rig.until(lambda: rig.server.connections == 0)
        assert rig.value("smtp_tls_handshakes_total", version=name, resumed="false") == 1
        assert rig.log.of("session")[0]["tls"] == name


async def test_refuses_tls_1_1(tmp_path: Path, certificates: Certificates) -> None:
    """RFC 8996: the client gets an alert, and the connection counts as failed."""
    old = (
        b"\x16\x03\x01\x00\x2f\x01\x00\x00\x2b\x03\x02"
        + bytes(32)
        + b"\x00\x00\x04\xc0\x0a\x00\xff\x01\x00"
    )
    async with serving(tmp_path, certificates, listeners=(IMPLICIT,)) as rig:
        client = await rig.connect()
        await client.send(old)
        assert (await client.reader.read())[:1] == b"\x15"
        await rig.until(lambda: rig.server.connections == 0)
        assert rig.value("smtp_connections_total", status="failed") == 1


# ---- traps of STARTTLS -------------------------------------------------------------------------


async def test_bytes_after_starttls_are_dropped(tmp_path: Path, certificates: Certificates) -> None:
    """Trap 19: what was sent in clear behind STARTTLS never acts inside TLS."""
    async with serving(tmp_path, certificates) as rig:
        client = await rig.greeted()
        await client.ask("EHLO clear.test")
        await client.send(b"STARTTLS\r\nEHLO injected.test\r\nNOOP\r\n")
        assert (await client.reply()).startswith("220 ")
        await client.start_tls()
        assert (await client.ask("MAIL FROM:<a@x.test>")).startswith("503 ")
        assert "AUTH" in await client.ask("EHLO tls.test")
    assert rig.handler.calls == [("EHLO", "clear.test"), ("EHLO", "tls.test")]


async def test_second_starttls_is_refused(tmp_path: Path, certificates: Certificates) -> None:
    """Trap 19: TLS inside TLS is 503."""
    async with serving(tmp_path, certificates) as rig:
        client = await rig.secured()
        assert (await client.ask("STARTTLS")).startswith("503 5.5.1")


async def test_starttls_makes_a_new_session(tmp_path: Path, certificates: Certificates) -> None:
    """Trap 19: nothing the client said in clear survives; the id stays."""
    async with serving(tmp_path, certificates) as rig:
        await rig.secured()
        before, after = rig.handler.sessions
    assert before is not after
    assert before.ssl is None
    assert after.ssl["version"] == "TLSv1.3"
    assert before.session_id == after.session_id == after.connection_id


async def test_a_login_in_clear_is_refused(tmp_path: Path, certificates: Certificates) -> None:
    """No secret is asked for outside TLS."""
    async with serving(tmp_path, certificates) as rig:
        client = await rig.greeted()
        await client.ask("EHLO x")
        assert (await client.ask(f"AUTH PLAIN {LOGIN}")).startswith("530 5.7.0")
    assert ("AUTH", "user") not in rig.handler.calls


# ---- how octets arrive -------------------------------------------------------------------------


@pytest.mark.parametrize("secure", [False, True])
async def test_pipelined_commands_are_answered_in_one_write(
    tmp_path: Path,
    certificates: Certificates,
    secure: bool,  # noqa: FBT001  # a table's column
) -> None:
    """Trap 37: all replies to one read leave together, each whole."""
    async with serving(tmp_path, certificates) as rig:
        client = await (rig.secured() if secure else rig.greeted())
        await client.send(b"NOOP\r\nNOOP x\r\nNOOP\r\nEHLO x\r\n")
        first = await client.octets()
    lines = first.split(b"\r\n")
    assert [line[:4] for line in lines[:3]] == [b"250 ", b"250 ", b"250 "]
    assert lines[3].startswith(b"250-mx.test")
    assert lines[-1] == b""
    assert lines[-2].startswith(b"250 ")


async def test_takes_any_split_of_a_mail(tmp_path: Path, certificates: Certificates) -> None:
    """Octet by octet, each in a TLS record of its own: the same mail."""
    async with serving(tmp_path, certificates) as rig:
        client = await rig.in_data()
        body = b"a: b\r\n\r\n..x\r\n.y\r\n.\r\n"
        await client.send(*(body[i : i + 1] for i in range(len(body))))
        assert await client.reply() == "250 Ok 1"
    assert rig.handler.mails[0].content == b"a: b\r\n\r\n.x\r\ny\r\n"


LEFT = {"crlf": b"\r\n", "lf": b"\n", "cr": b"\r", "crcrlf": b"\r\r\n", "nul": b"\r\n\0"}
RIGHT = {"crlf": b"\r\n", "lf": b"\n", "cr": b"\r", "nulcrlf": b"\0\r\n"}
SECOND = (
    b"MAIL FROM:<evil@x.test>\r\nRCPT TO:<b@y.test>\r\nDATA\r\nSubject: second\r\n\r\nevil\r\n.\r\n"
)


@pytest.mark.parametrize("cut", ["one record", "two records"])
@pytest.mark.parametrize(
    ("left", "right"), [pair for pair in itertools.product(LEFT, RIGHT) if pair != ("crlf", "crlf")]
)
async def test_no_other_end_of_data_makes_two_messages(
    tmp_path: Path, certificates: Certificates, left: str, right: str, cut: str
) -> None:
    """Trap 20: a dot with any non-standard end smuggles nothing, wherever TLS records fall."""
    head, tail = b"Subject: first\r\n\r\nx" + LEFT[left] + b".", RIGHT[right] + SECOND
    async with serving(tmp_path, certificates) as rig:
        client = await rig.in_data()
        await client.send(*([head + tail] if cut == "one record" else [head, tail]))
        replies = await client.rest()
    assert rig.handler.mails == []
    assert len(replies) == 1
    assert replies[0].startswith("554 5.6.0 ")


async def test_commands_behind_the_final_dot_wait_for_its_reply(
    tmp_path: Path, certificates: Certificates
) -> None:
    """Trap 20, the legal case: two whole transactions in one write are two messages, in order."""
    async with serving(tmp_path, certificates) as rig:
        client = await rig.in_data()
        await client.send(b"one\r\n.\r\nMAIL FROM:<c@x.test>\r\nRCPT TO:<d@y.test>\r\nDATA\r\n")
        assert await client.reply() == "250 Ok 1"
        assert [(await client.reply())[:3] for _ in range(3)] == ["250", "250", "354"]
        await client.send(b"two\r\n.\r\n")
        assert await client.reply() == "250 Ok 2"
    assert [mail.sender for mail in rig.handler.mails] == ["a@x.test", "c@x.test"]


async def test_input_before_354_is_refused(tmp_path: Path, certificates: Certificates) -> None:
    """Octets behind DATA in one read, in one record or the next, are no message."""
    async with serving(tmp_path, certificates) as rig:
        client = await rig.logged_in()
        await client.ask("MAIL FROM:<a@x.test>")
        await client.ask("RCPT TO:<b@y.test>")
        await client.send(b"DATA\r\n", b"x\r\n.\r\n")
        replies = await client.rest()
    assert [reply[:9] for reply in replies] == ["554 5.5.0"]
    assert rig.handler.mails == []


async def test_a_hundred_messages_keep_their_own_content(
    tmp_path: Path, certificates: Certificates
) -> None:
    """Trap 22: nothing is named by the connection."""
    async with serving(tmp_path, certificates) as rig:
        client = await rig.logged_in()
        for number in range(100):
            await client.send(
                b"MAIL FROM:<s%d@x.test>\r\nRCPT TO:<r%d@y.test>\r\nDATA\r\n" % (number, number)
            )
            assert [(await client.reply())[:3] for _ in range(3)] == ["250", "250", "354"]
            await client.send(b"body %d\r\n.\r\n" % number)
            assert await client.reply() == f"250 Ok {number + 1}"
    for number, mail in enumerate(rig.handler.mails):
        assert mail.sender == f"s{number}@x.test"
        assert mail.recipients == [f"r{number}@y.test"]
        assert mail.content == b"body %d\r\n" % number


@pytest.mark.parametrize("between", ["RSET", "EHLO again", "error"])
async def test_nothing_of_the_first_message_is_left(
    tmp_path: Path, certificates: Certificates, between: str
) -> None:
    """Trap 23: recipients of the second message are its own."""
    async with serving(tmp_path, certificates) as rig:
        client = await rig.logged_in()
        await client.ask("MAIL FROM:<a@x.test>")
        await client.ask("RCPT TO:<first@y.test>")
        if between == "error":
            rig.handler.failure = ValueError("secret words")
            await client.ask("DATA")
            await client.send(b"x\r\n.\r\n")
            assert await client.reply() == "451 4.3.0 Internal error"
            rig.handler.failure = None
        else:
            await client.ask(between)
        await client.send(b"MAIL FROM:<c@x.test>\r\nRCPT TO:<second@y.test>\r\nDATA\r\n")
        assert [(await client.reply())[:3] for _ in range(3)] == ["250", "250", "354"]
        await client.send(b"x\r\n.\r\n")
        assert (await client.reply()).startswith("250 ")
    assert [mail.recipients for mail in rig.handler.mails] == [["second@y.test"]]


# ---- bounds ------------------------------------------------------------------------------------


async def test_input_waits_in_the_socket_while_a_hook_is_out(
    tmp_path: Path, certificates: Certificates
) -> None:
    """A client that floods during a call fills no memory: reading stops at 64 KiB."""
    handler = RecordingHandler(held=True)
    async with serving(tmp_path, certificates, handler=handler) as rig:
        client = await rig.in_hook()
        noops = 40_000
        sending = asyncio.gather(client.send(*[b"NOOP\r\n" * 2_500] * 16))
        (edge,) = rig.edges()
        await rig.until(lambda: edge.held)
        assert edge.bytes_in < 512 * 1024
        handler.release.set()
        assert await client.reply() == "250 Ok 1"
        for _ in range(noops):
            assert (await client.reply()).startswith("250 ")
        await sending


async def test_an_over_size_body_is_refused_and_the_reply_is_read(
    tmp_path: Path, certificates: Certificates
) -> None:
    """Trap 17: twice the limit is thrown away, then 552 and close, and no reset eats the reply."""
    async with serving(tmp_path, certificates, message_size_limit_bytes=65_536) as rig:
        client = await rig.in_data()
        for _ in range(30):
            await client.send(b"x" * 16_000 + b"\r\n")
        assert (await client.reply()).startswith("552 5.3.4 ")
        assert await client.closed()
        assert rig.handler.mails == []
        assert rig.memory.reserved_bytes == 0


# ---- hooks -------------------------------------------------------------------------------------


async def test_a_failing_hook_leaks_nothing(tmp_path: Path, certificates: Certificates) -> None:
    """The handler words the answer; the exception's text reaches neither client nor log."""
    handler = RecordingHandler()
    handler.failure = ValueError("secret words")
    async with serving(tmp_path, certificates, handler=handler) as rig:
        client = await rig.in_data()
        await client.send(b"x\r\n.\r\n")
        assert await client.reply() == "451 4.3.0 Internal error"
        assert (await client.ask("NOOP")).startswith("250 ")
        assert "secret words" not in repr(rig.log.kept)
        assert rig.memory.reserved_bytes == 0
    assert ("exception", "ValueError") in handler.calls


class Bare:
    """A handler with the fewest hooks."""

    async def auth_PLAIN(self, server: Any, args: list[str]) -> Any:  # noqa: N802  # the contract's name
        """Every login is good."""
        return await RecordingHandler().auth_PLAIN(server, args)

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802  # the contract's name
        """Tell what the engine filled in."""
        return f"250 {session.host_name} {envelope.mail_from} {','.join(envelope.rcpt_tos)}"


async def test_absent_hooks_have_aiosmtpds_effects(
    tmp_path: Path, certificates: Certificates
) -> None:
    """Host name, sender and recipients are filled in without hooks."""
    async with serving(tmp_path, certificates, handler=Bare()) as rig:
        client = await rig.in_data()
        await client.send(b"x\r\n.\r\n")
        assert await client.reply() == "250 client.test a@x.test b@y.test"


class Refusing(Bare):
    """A handler that does not like the handshake."""

    def handle_STARTTLS(self, server: Any, session: Any, envelope: Any) -> bool:  # noqa: N802  # the contract's name
        """Not awaited."""
        return False


class Coroutine(Bare):
    """A handler that made the hook a coroutine, which is never run."""

    async def handle_STARTTLS(self, server: Any, session: Any, envelope: Any) -> bool:  # noqa: N802  # the contract's name
        """Never run."""
        raise AssertionError


@pytest.mark.parametrize(("handler", "code"), [(Refusing(), "554"), (Coroutine(), "250")])
async def test_handle_starttls_is_not_awaited(
    tmp_path: Path, certificates: Certificates, handler: object, code: str
) -> None:
    """False bars every command but QUIT; a coroutine counts as true."""
    async with serving(tmp_path, certificates, handler=handler) as rig:
        client = await rig.greeted()
        await client.ask("EHLO x")
        await client.ask("STARTTLS")
        await client.start_tls()
        assert (await client.ask("EHLO x")).startswith(code)


class Pushing(Bare):
    """A handler that writes a reply itself, as aiosmtpd's own mechanisms do."""

    async def auth_PLAIN(self, server: Any, args: list[str]) -> Any:  # noqa: N802  # the contract's name
        """Push, then say that all was handled."""
        await server.push("535 5.7.8 not today")
        return await super().auth_PLAIN(server, ["PLAIN", "AHgAeQ=="])


async def test_a_hook_may_push_its_own_reply(tmp_path: Path, certificates: Certificates) -> None:
    """``server.push`` is one of the promised members."""
    async with serving(tmp_path, certificates, handler=Pushing()) as rig:
        client = await rig.secured()
        assert await client.ask(f"AUTH PLAIN {LOGIN}") == "535 5.7.8 not today"
        assert (await client.ask("NOOP")).startswith("250 ")
