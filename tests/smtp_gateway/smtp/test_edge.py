"""One connection over a real socket, under both event loops."""

from __future__ import annotations

import asyncio
import gc
import itertools
import ssl
import struct
import weakref
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.proxy_protocol import V2_SIGNATURE

from smtp_gateway.smtp import context
from smtp_gateway.smtp.edge import EdgeTimeouts
from smtp_gateway.smtp.effects import TlsMode
from smtp_gateway.smtp.listener import Listener
from tests.support.edge import HOST, LOGIN, Client, RecordingHandler, SweptClock, serving
from tests.support.gateway import Certificates

EVERY_LOOP = True  # see conftest

PROXY_V1 = b"PROXY TCP4 192.0.2.7 198.51.100.1 5000 587\r\n"
PROXY_V2 = (
    V2_SIGNATURE
    + struct.pack("!BBH", 0x21, 0x11, 12)
    + bytes([192, 0, 2, 7, 198, 51, 100, 1])
    + struct.pack("!HH", 5000, 587)
)
IMPLICIT = Listener(HOST, 0, TlsMode.IMPLICIT)
LOOPBACK = (ip_network("127.0.0.0/8"),)
MIB = 1 << 20


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


# ---- the client leaves -------------------------------------------------------------------------


@pytest.mark.parametrize("leaving", ["reset", "close"])
async def test_a_client_that_vanishes_does_not_end_the_api_call(
    tmp_path: Path, certificates: Certificates, leaving: str
) -> None:
    """Trap 18: the hook runs to its end and can know it, and the message counts as aborted."""
    handler = RecordingHandler()
    handler.release = asyncio.Event()
    async with serving(tmp_path, certificates, handler=handler) as rig:
        client = await rig.in_data()
        await client.send(b"x\r\n.\r\n")
        await handler.entered.wait()
        session = handler.sessions[-1]
        assert context.client_there(session)
        getattr(client, leaving)()
        await rig.until(lambda: not context.client_there(session))
        await rig.until(lambda: leaving == "close" or rig.server.connections == 0)
        handler.release.set()
        await handler.ended.wait()
        await rig.until(lambda: rig.server.connections == 0 and len(rig.server.tasks) == 0)
        assert len(handler.mails) == 1
        assert rig.memory.reserved_bytes == 0
        assert rig.value("smtp_transactions_in_flight") == 0
        assert rig.log.of("handler failed") == []
        if leaving == "reset":
            assert rig.value("smtp_emails_received_total", status="aborted") == 1


async def test_half_a_close_still_gets_its_answer(
    tmp_path: Path, certificates: Certificates
) -> None:
    """Trap 18: a client that sends no more but reads is answered, without TLS as well."""
    handler = RecordingHandler()
    handler.release = asyncio.Event()
    optional = (Listener(HOST, 0, TlsMode.OPTIONAL),)
    async with serving(
        tmp_path, certificates, handler=handler, listeners=optional, clear_auth_allowed=True
    ) as rig:
        client = await rig.greeted()
        await client.ask("EHLO x")
        await client.ask(f"AUTH PLAIN {LOGIN}")
        await client.send(b"MAIL FROM:<a@x.test>\r\nRCPT TO:<b@y.test>\r\nDATA\r\n")
        for _ in range(3):
            await client.reply()
        await client.send(b"x\r\n.\r\n")
        client.half_close()
        await handler.entered.wait()
        handler.release.set()
        assert await client.reply() == "250 Ok 1"
        assert await client.closed()


@pytest.mark.parametrize("moment", ["greeted", "secured", "logged_in", "in_data"])
async def test_an_end_without_quit_is_no_error(
    tmp_path: Path, certificates: Certificates, moment: str
) -> None:
    """Pools close without QUIT, and TLS may end without close_notify: no error in the log."""
    async with serving(tmp_path, certificates) as rig:
        client: Client = await getattr(rig, moment)()
        client.close()
        await rig.until(lambda: rig.server.connections == 0)
        assert [event for event, _ in rig.log.kept] == ["session"]
        assert rig.value("smtp_connections_total", status="success") == 1
        assert rig.memory.reserved_bytes == 0


async def test_a_client_that_leaves_during_a_challenge_ends_the_exchange(
    tmp_path: Path, certificates: Certificates
) -> None:
    """No hook waits for an answer that cannot come."""
    async with serving(tmp_path, certificates) as rig:
        client = await rig.secured()
        assert await client.ask("AUTH LOGIN") == "334 VXNlcm5hbWU6"
        client.reset()
        await rig.until(lambda: rig.server.connections == 0 and len(rig.server.tasks) == 0)
        assert rig.log.of("handler failed") == rig.log.of("task failed") == []


async def test_commands_left_behind_a_call_reserve_nothing(
    tmp_path: Path, certificates: Certificates
) -> None:
    """A client that pipelines the next MAIL and vanishes leaves no memory taken."""
    handler = RecordingHandler()
    handler.release = asyncio.Event()
    async with serving(tmp_path, certificates, handler=handler) as rig:
        client = await rig.in_data()
        await client.send(b"x\r\n.\r\nMAIL FROM:<c@x.test>\r\nRCPT TO:<d@y.test>\r\n")
        await handler.entered.wait()
        client.reset()
        await rig.until(lambda: rig.server.connections == 0)
        handler.release.set()
        await rig.until(lambda: len(rig.server.tasks) == 0)
        assert rig.memory.reserved_bytes == 0


async def test_octets_that_are_no_tls_end_the_session_quietly(
    tmp_path: Path, certificates: Certificates
) -> None:
    """In the middle of a call: it goes on, nothing can be said, nothing is logged as an error."""
    handler = RecordingHandler()
    handler.release = asyncio.Event()
    async with serving(tmp_path, certificates, handler=handler) as rig:
        client = await rig.in_data()
        await client.send(b"x\r\n.\r\n")
        await handler.entered.wait()
        client.writer.write(b"\x17\x03\x03\x00\x20" + bytes(32))
        (edge,) = rig.edges()
        before = edge.bytes_in
        await rig.until(lambda: edge.bytes_in > before or rig.server.connections == 0)
        handler.release.set()
        await rig.until(lambda: rig.server.connections == 0)
        assert len(handler.mails) == 1
        assert [event for event, _ in rig.log.kept] == ["session"]


async def test_memory_does_not_wait_for_the_collector(
    tmp_path: Path, certificates: Certificates
) -> None:
    """No reference cycle keeps a connection, its TLS object or its envelope alive."""
    async with serving(tmp_path, certificates) as rig:
        gc.collect()
        gc.disable()
        try:
            client = await rig.in_data()
            await client.send(b"x\r\n.\r\n")
            await client.reply()
            session = rig.handler.sessions[-1]
            alive = [weakref.ref(session), *(weakref.ref(edge) for edge in rig.edges())]
            del session
            rig.handler.sessions.clear()
            await client.ask("QUIT")
            await rig.until(lambda: rig.server.connections == 0)
            await rig.until(lambda: all(each() is None for each in alive))
        finally:
            gc.enable()


# ---- time --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("moment", "seconds"),
    [("greeted", 300), ("secured", 300), ("logged_in", 300), ("in_data", 180)],
)
async def test_every_time_out_says_421(
    tmp_path: Path, certificates: Certificates, moment: str, seconds: float
) -> None:
    """Trap 15: never silence, and not before its time."""
    clock = SweptClock()
    async with serving(tmp_path, certificates, clock=clock) as rig:
        client: Client = await getattr(rig, moment)()
        await clock.advance(seconds - 1)
        assert rig.server.connections == 1
        await clock.advance(1)
        assert (await client.reply()).startswith("421 4.4.2 Timeout [")
        assert await client.closed()


async def test_an_unanswered_challenge_times_out_with_421(
    tmp_path: Path, certificates: Certificates
) -> None:
    """Trap 15, in the middle of AUTH."""
    clock = SweptClock()
    async with serving(tmp_path, certificates, clock=clock) as rig:
        client = await rig.secured()
        await client.ask("AUTH LOGIN")
        await clock.advance(60)
        assert (await client.reply()).startswith("421 4.4.2 ")
        await rig.until(lambda: len(rig.server.tasks) == 0)


async def test_noop_does_not_keep_an_anonymous_session_alive(
    tmp_path: Path, certificates: Certificates
) -> None:
    """Trap 16: before a login the time counts in total."""
    clock = SweptClock()
    async with serving(tmp_path, certificates, clock=clock) as rig:
        client = await rig.greeted()
        for _ in range(5):
            await clock.advance(50)
            assert (await client.ask("NOOP")).startswith("250 ")
        await clock.advance(50)
        assert (await client.reply()).startswith("421 4.4.2 ")


async def test_a_slow_api_within_its_deadline_is_waited_for(
    tmp_path: Path, certificates: Certificates
) -> None:
    """Trap 14: while a hook is out no idle timer runs."""
    clock, handler = SweptClock(), RecordingHandler()
    handler.release = asyncio.Event()
    async with serving(tmp_path, certificates, handler=handler, clock=clock) as rig:
        client = await rig.in_data()
        await client.send(b"x\r\n.\r\n")
        await handler.entered.wait()
        await clock.advance(1000)
        handler.release.set()
        assert await client.reply() == "250 Ok 1"


async def test_an_honest_slow_upload_passes(tmp_path: Path, certificates: Certificates) -> None:
    """Trap 14: 10 KB a second for five minutes is slow, and mail."""
    clock = SweptClock()
    async with serving(tmp_path, certificates, clock=clock, sweep_seconds=0.001) as rig:
        client = await rig.in_data()
        await client.send(b"\r\n")
        for _ in range(300):
            await client.send((b"x" * 998 + b"\r\n") * 10)
            await clock.advance(1)
        await client.send(b".\r\n")
        assert await client.reply() == "250 Ok 1"
    assert len(rig.handler.mails[0].content) == 3_000_002


async def test_a_trickle_is_cut(tmp_path: Path, certificates: Certificates) -> None:
    """Trap 14, the other side: below 8 KiB a second a connection is only held."""
    clock = SweptClock()
    patient = EdgeTimeouts(linger_seconds=1000)
    async with serving(
        tmp_path, certificates, clock=clock, sweep_seconds=0.001, edge_timeouts=patient
    ) as rig:
        client = await rig.in_data()
        for _ in range(90):
            await client.send(b"x" * 998 + b"\r\n")
            await clock.advance(1)
        assert (await client.reply()).startswith("421 4.4.2 ")
        assert await client.closed()
    assert rig.handler.mails == []


async def test_a_handshake_that_does_not_come_is_ended(
    tmp_path: Path, certificates: Certificates
) -> None:
    """Trap 15, before TLS: there is nobody to talk to in the clear."""
    clock = SweptClock()
    async with serving(tmp_path, certificates, listeners=(IMPLICIT,), clock=clock) as rig:
        await rig.connect()
        await rig.until(lambda: rig.server.connections == 1)
        await clock.advance(29)
        assert rig.server.connections == 1
        await clock.advance(1)
        await rig.until(lambda: rig.value("smtp_connections_total", status="failed") == 1)
        assert rig.log.of("session")[0]["ended_by"] == "tls handshake"


async def test_a_client_that_does_not_read_is_dropped(
    tmp_path: Path, certificates: Certificates
) -> None:
    """Section 2.4: reading stops while answers wait, and 60 s later the connection ends."""
    clock = SweptClock()
    async with serving(tmp_path, certificates, clock=clock) as rig:
        client = await rig.greeted()
        (edge,) = rig.edges()
        while not edge.held:
            client.writer.write(b"EHLO x\r\n" * 8192)
            await asyncio.sleep(0)  # the flood itself; nothing reads the answers
        await clock.advance(1)
        await clock.advance(58)
        assert rig.server.connections == 1
        await clock.advance(2)
        await rig.until(lambda: rig.server.connections == 0)
        (line,) = rig.log.of("session")
    assert line["bytes_in"] < 64 * MIB


# ---- bounds ------------------------------------------------------------------------------------


async def test_input_waits_in_the_socket_while_a_hook_is_out(
    tmp_path: Path, certificates: Certificates
) -> None:
    """A client that floods during a call fills no memory: reading stops at 64 KiB."""
    handler = RecordingHandler()
    handler.release = asyncio.Event()
    async with serving(tmp_path, certificates, handler=handler) as rig:
        client = await rig.in_data()
        await client.send(b"x\r\n.\r\n")
        await handler.entered.wait()
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


# ---- PROXY -------------------------------------------------------------------------------------


@pytest.mark.parametrize("header", [PROXY_V1, PROXY_V2], ids=["v1", "v2"])
@pytest.mark.parametrize("mode", [TlsMode.STARTTLS, TlsMode.IMPLICIT])
async def test_a_named_balancer_announces_the_client(
    tmp_path: Path, certificates: Certificates, header: bytes, mode: TlsMode
) -> None:
    """Trap 27: before TLS, on implicit TLS too; the session keeps the socket's peer."""
    async with serving(
        tmp_path, certificates, listeners=(Listener(HOST, 0, mode, LOOPBACK),)
    ) as rig:
        client = await rig.connect()
        await client.send(header[:9])
        await client.send(header[9:])
        if mode is TlsMode.IMPLICIT:
            await client.start_tls()
        assert (await client.reply()).startswith("220 ")
        await client.ask("EHLO x")
        await client.ask("QUIT")
        await rig.until(lambda: rig.server.connections == 0)
        (session,) = rig.handler.sessions
        assert session.peer[0] == HOST
        assert str(session.proxy_data.src_addr) == "192.0.2.7"
        assert rig.log.of("session")[0]["client"] == "192.0.2.7"


async def test_a_proxy_header_and_the_client_hello_may_come_together(
    tmp_path: Path, certificates: Certificates
) -> None:
    """Trap 27: octets behind the header belong to TLS."""
    async with serving(
        tmp_path, certificates, listeners=(Listener(HOST, 0, TlsMode.IMPLICIT, LOOPBACK),)
    ) as rig:
        client = await rig.connect()
        client.writer.write(PROXY_V2)
        await client.start_tls()
        assert (await client.reply()).startswith("220 ")


@pytest.mark.parametrize("octets", [PROXY_V1, b"EHLO x\r\n"])
async def test_an_unnamed_peer_is_closed_unanswered(
    tmp_path: Path, certificates: Certificates, octets: bytes
) -> None:
    """Trap 27: the address never changes on a stranger's word."""
    stranger = Listener(HOST, 0, proxy_networks=(ip_network("192.0.2.0/24"),))
    async with serving(tmp_path, certificates, listeners=(stranger,)) as rig:
        client = await rig.connect()
        client.writer.write(octets)
        assert await client.closed()
        await rig.until(lambda: rig.server.connections == 0)
        assert rig.value("smtp_connections_total", status="failed") == 1


async def test_a_named_balancer_without_a_header_is_closed(
    tmp_path: Path, certificates: Certificates
) -> None:
    """Trap 27: there is no "if present"."""
    async with serving(
        tmp_path, certificates, listeners=(Listener(HOST, 0, proxy_networks=LOOPBACK),)
    ) as rig:
        client = await rig.connect()
        await client.send(b"EHLO x\r\n")
        assert await client.closed()


async def test_a_header_that_does_not_come_ends_the_connection(
    tmp_path: Path, certificates: Certificates
) -> None:
    """Trap 15: trusted peers send it at once."""
    clock = SweptClock()
    balanced = (Listener(HOST, 0, proxy_networks=LOOPBACK),)
    async with serving(tmp_path, certificates, listeners=balanced, clock=clock) as rig:
        client = await rig.connect()
        await client.send(PROXY_V1[:9])
        await rig.until(lambda: rig.server.connections == 1)
        await clock.advance(5)
        await rig.until(lambda: rig.value("smtp_connections_total", status="failed") == 1)


async def test_without_proxy_protocol_the_header_is_a_bad_command(
    tmp_path: Path, certificates: Certificates
) -> None:
    """Trap 27: off means off."""
    async with serving(tmp_path, certificates) as rig:
        client = await rig.greeted()
        assert (await client.ask(PROXY_V1.decode().strip())).startswith("500 5.5.1")
        await client.ask("EHLO x")
    assert rig.handler.sessions[0].proxy_data is None


class Judging(RecordingHandler):
    """A handler with a say in who is announced."""

    def __init__(self, answer: object) -> None:
        super().__init__()
        self._answer = answer

    async def handle_PROXY(self, server: Any, session: Any, envelope: Any, data: Any) -> object:  # noqa: N802  # the contract's name
        """Answer after a turn of the loop, or fail."""
        await asyncio.sleep(0)
        self.proxies.append(str(data.src_addr))
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


@pytest.mark.parametrize(
    ("answer", "greeted"), [(True, True), (False, False), (ValueError(), False)]
)
async def test_the_handler_has_a_say_in_proxy(
    tmp_path: Path,
    certificates: Certificates,
    answer: object,
    greeted: bool,  # noqa: FBT001  # a table's column
) -> None:
    """A false answer closes, and so does a failure; input meanwhile is not lost."""
    handler = Judging(answer)
    async with serving(
        tmp_path,
        certificates,
        handler=handler,
        listeners=(Listener(HOST, 0, proxy_networks=LOOPBACK),),
    ) as rig:
        client = await rig.connect()
        await client.send(PROXY_V1)
        assert (await client.reply()).startswith("220 ") is greeted
    assert handler.proxies == ["192.0.2.7"]
