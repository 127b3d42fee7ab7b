"""Trap 33, settings that nothing reads: for each there is a test that fails when it is ignored.

The running gateway is started with values other than the defaults, and what it does is looked at.
Settings about time, shutdown, memory, certificates and the PROXY protocol are proved beside the
behaviour that they govern; the last test here knows of all.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator

import pytest

from smtp_gateway.settings import Settings
from tests.end_to_end.conftest import Dialer, Dialers, Gateways
from tests.support.gateway import Certificates, GatewayProcess, free_ports
from tests.support.marks import marked
from tests.support.sandbox import Sandbox
from tests.support.tenants import FILE_NAME, Tenant, letter, new_tenant, recipient, seed_of
from tests.support.tls_front import TlsFront
from tests.support.wire import Wire, eventually, plain

LIMIT_BYTES = 100_000
RATE = 10
CONNECTIONS = 210


@pytest.fixture(scope="module")
def customer() -> Tenant:
    """Whose list and sender the settings name."""
    return new_tenant()


@pytest.fixture
def sandbox(running_sandbox: Sandbox, customer: Tenant) -> Sandbox:
    """The sandbox with that customer."""
    running_sandbox.clear(seed_of([customer]))
    return running_sandbox


@pytest.fixture(scope="module")
def extra_port() -> int:
    """One more STARTTLS port."""
    return free_ports(1)[0]


@pytest.fixture(scope="module")
def chosen(
    gateways: Gateways, running_sandbox: Sandbox, customer: Tenant, extra_port: int
) -> Iterator[GatewayProcess]:
    """A gateway with nothing left as it is by default."""
    variables = {
        "CAKEMAIL_AUTH_URL": f"{running_sandbox.url}/elsewhere",
        "CAKEMAIL_LIST_ID": str(customer.younger_list_id),
        "CAKEMAIL_EMAIL_TYPE": "marketing",
        "CAKEMAIL_FALLBACK_SENDER_ID": customer.sender_id,
        "CAKEMAIL_TAGS": "alpha,beta",
        "CAKEMAIL_TRACK_OPENS": "true",
        "CAKEMAIL_TRACK_CLICKS_HTML": "true",
        "CAKEMAIL_TRACK_CLICKS_TEXT": "true",
        "CAKEMAIL_INLINE_IMAGES": "refuse",
        "CAKEMAIL_MAX_CALLS": "1",
        "SMTP_HOSTNAME": "mx7.gateway.test",
        "SMTP_EXTRA_PORTS": str(extra_port),
        "SMTP_MAX_RECIPIENTS": "3",
        "SMTP_CONNECTIONS_PER_ADDRESS": "8",
        "SMTP_CONNECTIONS_PER_LOGIN": "3",
        "SMTP_POSTMASTER": "post@example.org",
        "MESSAGE_SIZE_LIMIT": str(LIMIT_BYTES),
        "LOG_LEVEL": "WARNING",
    }
    with gateways(variables) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def narrow(gateways: Gateways) -> Iterator[GatewayProcess]:
    """A gateway with few places and a low rate, which shows half of a client's address."""
    variables = {
        "RATE_LIMIT_PER_IP": str(RATE),
        "MAX_CONNECTIONS_PER_POD": str(CONNECTIONS),
        "LOG_CLIENT_ADDRESS": "network",
    }
    with gateways(variables) as gateway:
        yield gateway


@pytest.fixture
def dial(dial_to: Dialers, chosen: GatewayProcess) -> Dialer:
    """Connections to the first of these."""
    return dial_to(chosen)


@pytest.fixture
def wire(dial: Dialer, customer: Tenant, sandbox: Sandbox) -> Wire:
    """Logged in there, with a token: it needs no token service."""
    return dial(implicit=True).log_in("apikey", customer.token)


@pytest.mark.trap(33)
@pytest.mark.setting("cakemail_auth_url")
def test_trap_33_the_token_endpoint_is_the_one_that_is_set(
    dial: Dialer, customer: Tenant, sandbox: Sandbox
) -> None:
    """There is none, so a password cannot be checked."""
    line = f"AUTH PLAIN {plain(customer.username, customer.password)}"
    assert dial().secure().say(line).startswith("454 4.7.0 ")
    assert [each["method"] for each in sandbox.requests("/elsewhere/token")] == ["POST"]


@pytest.mark.trap(33)
@pytest.mark.setting(
    "cakemail_api_url",
    "cakemail_list_id",
    "cakemail_email_type",
    "cakemail_fallback_sender_id",
    "cakemail_tags",
    "cakemail_track_opens",
    "cakemail_track_clicks_html",
    "cakemail_track_clicks_text",
)
def test_trap_33_the_request_is_as_the_settings_say(
    wire: Wire, customer: Tenant, sandbox: Sandbox
) -> None:
    """List, type, sender, tags and tracking of a message that names none of them."""
    content = letter(customer, sender="Nobody <nobody@tenant.example>")
    assert wire.mail(customer.sender, [recipient()], content).startswith("250 Ok ")

    (mail,) = sandbox.accepted()
    body = mail["body"]
    assert body["list_id"] == customer.younger_list_id
    assert body["content"]["type"] == "marketing"
    assert body["sender"] == {"id": customer.sender_id, "name": "Nobody"}
    assert body["tags"] == ["alpha", "beta"]
    assert body["tracking"] == {"opens": True, "clicks_html": True, "clicks_text": True}


@pytest.mark.trap(33)
def test_trap_33_the_message_speaks_before_the_settings(
    wire: Wire, customer: Tenant, sandbox: Sandbox
) -> None:
    """What a header says is not overruled."""
    fields = (
        "X-Email-API-Type: transactional",
        f"X-List-Id: {customer.list_id}",
        "X-Track-Opens: no",
        "X-Tags: own",
    )
    assert wire.mail(customer.sender, [recipient()], letter(customer, *fields))[:3] == "250"

    (mail,) = sandbox.accepted()
    body = mail["body"]
    assert (body["list_id"], body["content"]["type"]) == (customer.list_id, "transactional")
    assert body["tags"] == ["own", "alpha", "beta"]
    assert body["tracking"] == {"opens": False, "clicks_html": True, "clicks_text": True}


@pytest.mark.trap(33)
@pytest.mark.setting("cakemail_inline_images")
def test_trap_33_inline_images_may_be_refused(
    wire: Wire, customer: Tenant, sandbox: Sandbox
) -> None:
    """An image that the html shows by content id refuses the message."""
    body = (
        '--b\r\nContent-Type: text/html\r\n\r\n<img src="cid:i">crimson heron\r\n--b\r\n'
        f'Content-Type: image/png; name="{FILE_NAME}.png"\r\nContent-ID: <i>\r\n'
        "Content-Disposition: inline\r\nContent-Transfer-Encoding: base64\r\n\r\niVBORw0=\r\n--b--"
    )
    content = letter(customer, "Content-Type: multipart/related; boundary=b", body=body)
    assert wire.mail(customer.sender, [recipient()], content).startswith("550 5.6.1 Part not supp")
    assert sandbox.emails() == []


@pytest.mark.trap(33)
@pytest.mark.setting("cakemail_max_calls")
def test_trap_33_calls_in_flight_are_as_many_as_set(
    wire: Wire, customer: Tenant, sandbox: Sandbox
) -> None:
    """With one place the second call begins when the first has ended."""
    sandbox.fault(latency_seconds=0.4)
    pair = ["ada@example.org", "bob@example.org"]
    assert wire.mail(customer.sender, pair, letter(customer)).startswith("250 Ok ")

    first, second = (each["at"] for each in sandbox.emails())
    assert second - first >= 0.35


@pytest.mark.trap(33)
@pytest.mark.setting("smtp_hostname", "smtp_extra_ports", "smtp_port", "smtps_port")
def test_trap_33_ports_and_the_name_are_those_that_are_set(
    dial: Dialer, chosen: GatewayProcess, extra_port: int
) -> None:
    """Each port greets with the name; two by STARTTLS, one in TLS from the first octet."""
    for wire in (dial(), dial(port=extra_port), dial(implicit=True)):
        assert wire.reply() == "220 mx7.gateway.test ESMTP"
    assert dial(port=extra_port).secure().say("NOOP") == "250 OK"


@pytest.mark.trap(33)
@pytest.mark.setting("smtp_host", "http_host", "http_port")
def test_trap_33_nobody_listens_elsewhere(chosen: GatewayProcess) -> None:
    """Set to 127.0.0.1: that address answers, another one of this machine does not."""
    ports = (chosen.port, chosen.tls_port, chosen.http_port)
    for port in ports:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
        with pytest.raises(OSError, match=r"refused|timed out|unreachable|assign"):
            socket.create_connection(("127.0.0.2", port), timeout=2)


@pytest.mark.trap(33)
@pytest.mark.setting("smtp_max_recipients")
def test_trap_33_recipients_are_as_many_as_set(wire: Wire, customer: Tenant) -> None:
    """EHLO tells the number, and one more is 452."""
    assert "LIMITS RCPTMAX=3" in wire.say("EHLO x")
    assert wire.say(f"MAIL FROM:<{customer.sender}>") == "250 OK"
    said = [wire.say(f"RCPT TO:<r{number}@example.org>") for number in range(4)]
    assert said[:3] == ["250 OK"] * 3
    assert said[3].startswith("452 4.5.3 Too many recipients, limit 3 [")


@pytest.mark.trap(33)
@pytest.mark.setting("smtp_connections_per_address", "smtp_connections_per_login")
def test_trap_33_connections_of_one_client_are_as_many_as_set(
    dial: Dialer, chosen: GatewayProcess, customer: Tenant, sandbox: Sandbox
) -> None:
    """The fourth with one login hears 421 after it, the ninth of one address at connect."""
    eventually(lambda: chosen.metric("smtp_active_connections") == 0, "nobody is connected")
    for _ in range(3):
        dial(implicit=True).log_in("apikey", customer.token)
    fourth = dial(implicit=True).secure()
    fourth.send(f"AUTH PLAIN {plain('apikey', customer.token)}\r\n".encode())
    said = fourth.replies()
    assert said[-1].startswith("421 4.7.0 Too many connections for this login [")
    eventually(lambda: chosen.metric("smtp_active_connections") == 3, "the fourth is gone")

    served = [dial() for _ in range(5)]
    assert {wire.reply()[:4] for wire in served} == {"220 "}
    beyond = dial().replies()
    assert [reply[:30] for reply in beyond] == ["421 4.7.0 Too many connections"]


@pytest.mark.trap(33)
@pytest.mark.setting("smtp_postmaster")
def test_trap_33_mail_to_postmaster_goes_where_it_is_set(
    wire: Wire, customer: Tenant, sandbox: Sandbox
) -> None:
    """RFC 5321 4.5.1, in any case of letters."""
    assert wire.mail(customer.sender, ["PostMaster"], letter(customer)).startswith("250 Ok ")
    (mail,) = sandbox.accepted()
    assert mail["recipient"] == "post@example.org"


@pytest.mark.trap(33)
@pytest.mark.setting("message_size_limit")
def test_trap_33_messages_are_as_large_as_set(
    wire: Wire, customer: Tenant, sandbox: Sandbox
) -> None:
    """EHLO tells the size; one octet more is refused at MAIL, and at the dot if undeclared."""
    assert f"250-SIZE {LIMIT_BYTES}" in wire.say("EHLO x").splitlines()
    declared = wire.say(f"MAIL FROM:<{customer.sender}> SIZE={LIMIT_BYTES + 1}")
    assert declared.startswith(f"552 5.3.4 Message size exceeds limit of {LIMIT_BYTES} octets [")
    head = letter(customer, body="")
    fits = head + b"x" * (LIMIT_BYTES - len(head) - 2) + b"\r\n"
    assert wire.mail(customer.sender, [recipient()], b"x" + fits).startswith("552 5.3.4 ")
    assert wire.mail(customer.sender, [recipient()], fits).startswith("250 Ok ")
    assert len(sandbox.emails()) == 1


@pytest.mark.trap(33)
@pytest.mark.setting("log_level")
def test_trap_33_the_log_says_what_its_level_lets(
    chosen: GatewayProcess, wire: Wire, customer: Tenant, sandbox: Sandbox
) -> None:
    """At WARNING there is no line of a session or a message, but one of an alert."""
    sandbox.fault(status=404)
    assert wire.mail(customer.sender, [recipient()], letter(customer)).startswith("451 4.3.5 ")
    assert wire.say("QUIT").startswith("221 ")
    wire.close()
    eventually(lambda: "upstream alert" in chosen.log_text(), "the alert was logged")
    assert chosen.log_lines("session") == []
    assert chosen.log_lines("message") == []


@pytest.mark.trap(24)
@pytest.mark.trap(33)
@pytest.mark.setting("rate_limit_per_ip", "max_connections_per_pod", "log_client_address")
def test_trap_24_two_hundred_parallel_mails_against_a_limit_of_ten(
    dial_to: Dialers, narrow: GatewayProcess, customer: Tenant, sandbox: Sandbox
) -> None:
    """Exactly ten are taken; then the places: one client beyond the last is told 421."""
    dial = dial_to(narrow)
    wires = [dial.as_tenant(customer) for _ in range(200)]
    for wire in wires:
        wire.send(f"MAIL FROM:<{customer.sender}>\r\n".encode())
    said = [wire.reply() for wire in wires]
    assert said.count("250 OK") == RATE
    refused = [reply for reply in said if reply != "250 OK"]
    assert {reply[:31] for reply in refused} == {"451 4.7.1 Rate limit, retry in "}

    served = [dial() for _ in range(CONNECTIONS - 200)]
    assert {wire.reply() for wire in served} == {"220 localhost ESMTP"}
    beyond = dial().replies()
    assert [reply[:30] for reply in beyond] == ["421 4.7.0 Too many connections"]
    assert narrow.metric('smtp_admission_refusals_total{reason="connections"}') == 1

    wires[0].close()
    eventually(lambda: narrow.log_lines("session") != [], "a session ended")
    assert {line["client"] for line in narrow.log_lines("session")} == {"127.0.0.0/24"}


@pytest.mark.trap(33)
@pytest.mark.setting("cakemail_ca_path")
def test_trap_33_the_api_is_trusted_by_the_authority_that_is_set(
    gateways: Gateways,
    dial_to: Dialers,
    certificates: Certificates,
    customer: Tenant,
    sandbox: Sandbox,
) -> None:
    """An API with a certificate of an authority that no system knows: the mail arrives."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.chain_path, certificates.key_path)
    trust = {"CAKEMAIL_CA_PATH": str(certificates.ca_path)}
    with TlsFront(sandbox.port, context) as front, gateways(trust, api_url=front.url) as gateway:
        wire = dial_to(gateway).as_tenant(customer)
        assert wire.mail(customer.sender, [recipient()], letter(customer)).startswith("250 Ok ")
    assert len(sandbox.accepted()) == 1


@pytest.mark.trap(33)
def test_trap_33_every_setting_has_a_test_that_fails_when_it_is_ignored() -> None:
    """Whoever adds a setting adds its test; whoever removes one removes it too."""
    assert sorted(map(str, marked("setting"))) == sorted(Settings.model_fields)
