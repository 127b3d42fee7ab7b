"""The same handler under aiosmtpd's stock Controller, with smtplib over STARTTLS."""

from __future__ import annotations

import smtplib
import socket
import ssl
from collections.abc import Iterator
from typing import Any

import pytest
import trustme
from aiosmtpd.controller import Controller
from prometheus_client import CollectorRegistry

from smtp_gateway import errors
from smtp_gateway.policy import Policy, PolicyHolder
from smtp_gateway.smtp.authenticator import Authenticator
from smtp_gateway.smtp.handler import GatewayHandler
from smtp_gateway.smtp.limits import MailRate
from smtp_gateway.smtp.lockout import Lockout
from smtp_gateway.telemetry import Metrics
from smtp_gateway.utils.clock import SystemClock
from tests.support.fakes import RECEIPT_ID, FakeCourier, FakeLog, FakeTokens

USER, PASSWORD = "a@x.test", "good password"


class Stock:
    """aiosmtpd's server with our handler."""

    def __init__(self, authority: trustme.CA) -> None:
        self.tokens = FakeTokens({(USER, PASSWORD)})
        self.courier = FakeCourier()
        clock, log = SystemClock(), FakeLog()
        metrics = Metrics(CollectorRegistry())
        self.handler = GatewayHandler(
            authenticator=Authenticator(
                tokens=self.tokens, lockout=Lockout(clock), metrics=metrics, log=log, clock=clock
            ),
            courier=self.courier,
            policies=PolicyHolder(Policy(max_recipients=2)),
            rate=MailRate(clock),
            metrics=metrics,
            log=log,
            clock=clock,
        )
        self.authority = authority
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(tls)
        self.controller = Controller(
            self.handler,
            hostname="127.0.0.1",
            port=free_port(),
            server_hostname="mx.test",
            tls_context=tls,
            require_starttls=True,
        )

    def client(self) -> smtplib.SMTP:
        """A client behind STARTTLS."""
        tls = ssl.create_default_context()
        self.authority.configure_trust(tls)
        client = smtplib.SMTP("localhost", self.controller.port, timeout=10)
        client.starttls(context=tls)
        client.ehlo()
        return client


def free_port() -> int:
    """A port that nobody listens on; the stock Controller cannot choose one itself."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    return port


def bytes_of(refusal: pytest.ExceptionInfo[smtplib.SMTPDataError]) -> bytes:
    """The reply's text as received, whatever the annotations of smtplib call it."""
    text: Any = refusal.value.smtp_error
    return bytes(text)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Signs the server's certificate."""
    return trustme.CA()


@pytest.fixture
def stock(authority: trustme.CA) -> Iterator[Stock]:
    """A running server."""
    server = Stock(authority)
    server.controller.start()
    yield server
    server.controller.stop()


def test_a_mail_passes(stock: Stock) -> None:
    """STARTTLS, AUTH, two recipients, and the id in the reply to the dot."""
    with stock.client() as client:
        client.login(USER, PASSWORD)
        assert client.mail("s@x.test") == (250, b"OK")
        assert client.rcpt("a@x.test") == (250, b"OK")
        assert client.rcpt("b@x.test") == (250, b"OK")
        assert client.rcpt("c@x.test")[0] == 452
        assert client.data(b"Subject: x\r\n\r\n.y\r\n") == (250, f"Ok {RECEIPT_ID}".encode())
    ((letter, _),) = stock.courier.letters
    assert letter.recipients == ("a@x.test", "b@x.test")
    assert letter.content == b"Subject: x\r\n\r\n.y\r\n"
    assert letter.mail_from == "s@x.test"


@pytest.mark.trap(4)
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
@pytest.mark.parametrize("initial_response_ok", [True, False])
def test_trap_4_every_form_of_plain_and_login(
    stock: Stock, mechanism: str, *, initial_response_ok: bool
) -> None:
    """With the initial response and without; smtplib sends it for LOGIN too."""
    with stock.client() as client:
        client.user, client.password = USER, PASSWORD
        answer: Any = {"PLAIN": client.auth_plain, "LOGIN": client.auth_login}[mechanism]
        reply = client.auth(mechanism, answer, initial_response_ok=initial_response_ok)
    assert reply == (235, b"2.7.0 Authentication successful")
    assert stock.tokens.asked == [(USER, PASSWORD)]


@pytest.mark.trap(37)
def test_trap_37_challenges_octet_for_octet(stock: Stock) -> None:
    """The empty challenge keeps its space; LOGIN's are what gomail compares with."""
    with stock.client() as client:
        client.putcmd("AUTH PLAIN")
        assert client.file is not None
        assert client.file.readline() == b"334 \r\n"
        assert client.docmd("AGFAeC50ZXN0AHdyb25n")[0] == 535
        assert client.docmd("AUTH LOGIN") == (334, b"VXNlcm5hbWU6")
        assert client.docmd("YUB4LnRlc3Q=") == (334, b"UGFzc3dvcmQ6")
        assert client.docmd("*")[0] == 501


@pytest.mark.trap(3)
def test_trap_3_no_login_no_relay(stock: Stock) -> None:
    """A refused login opens nothing, and MAIL says why."""
    with stock.client() as client:
        assert client.mail("s@x.test")[0] == 530
        with pytest.raises(smtplib.SMTPAuthenticationError) as refusal:
            client.login(USER, "wrong")
        assert refusal.value.smtp_code == 535
        code, text = client.mail("s@x.test")
        assert code == 530
        assert b"(previous login failed: Authentication credentials invalid)" in text
    assert stock.courier.letters == []


@pytest.mark.trap(25)
def test_trap_25_smtplib_tries_both_mechanisms_and_is_counted_once(stock: Stock) -> None:
    """Six connections with one wrong password leave the right one its way in."""
    for _ in range(6):
        with stock.client() as client, pytest.raises(smtplib.SMTPAuthenticationError):
            client.login(USER, "wrong")
    with stock.client() as client:
        assert client.login(USER, PASSWORD)[0] == 235
    assert len(stock.tokens.asked) == 13


@pytest.mark.trap(1)
def test_trap_1_the_second_client_of_an_address_is_not_logged_in(stock: Stock) -> None:
    """While the first one is."""
    with stock.client() as first, stock.client() as second:
        first.login(USER, PASSWORD)
        assert first.mail("s@x.test")[0] == 250
        assert second.mail("s@x.test")[0] == 530


def test_an_error_of_delivery_is_one_reply(stock: Stock) -> None:
    """And the session goes on with an empty envelope."""
    stock.courier.failure = errors.ContentRefused(excerpt="no\r\n250 Ok")
    with stock.client() as client:
        client.login(USER, PASSWORD)
        with pytest.raises(smtplib.SMTPDataError) as refusal:
            client.sendmail("s@x.test", ["a@x.test"], "Subject: x\n\ny")
        assert refusal.value.smtp_code == 550
        assert bytes_of(refusal).startswith(b"5.6.0 Message refused: no 250 Ok [")
        stock.courier.failure = None
        assert client.sendmail("s@x.test", ["b@x.test"], "Subject: x\n\ny") == {}
    assert [letter.recipients for letter, _ in stock.courier.letters] == [
        ("a@x.test",),
        ("b@x.test",),
    ]


def test_a_defect_is_451_without_its_text(stock: Stock) -> None:
    """Under either engine nobody reads an exception's words."""
    stock.courier.refusal = None
    stock.courier.failure = ValueError("bob@x.test")
    with stock.client() as client:
        client.login(USER, PASSWORD)
        with pytest.raises(smtplib.SMTPDataError) as refusal:
            client.sendmail("s@x.test", ["a@x.test"], "Subject: x\n\ny")
    assert refusal.value.smtp_code == 451
    assert bytes_of(refusal).startswith(b"4.3.0 Internal error [")


def test_the_null_sender_and_the_postmaster(stock: Stock) -> None:
    """`<>` is a valid sender and no recipient; nobody is postmaster here."""
    with stock.client() as client:
        client.login(USER, PASSWORD)
        assert client.mail("")[0] == 250
        assert client.rcpt("")[0] == 501
        assert client.docmd("RCPT TO:<Postmaster>")[0] == 550
        assert client.docmd("VRFY root")[0] == 252
