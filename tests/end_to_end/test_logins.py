"""Who may send: every form of AUTH, wrong secrets, lock-outs, and accounts that may not."""

from __future__ import annotations

import smtplib

import pytest

from tests.end_to_end.conftest import Dialer
from tests.support import sandbox as world
from tests.support.gateway import GatewayProcess
from tests.support.sandbox import Sandbox
from tests.support.tenants import SECRET, Tenant, letter, new_tenant, recipient, seed_of
from tests.support.wire import Wire, b64, plain

IN = "235 2.7.0 Authentication successful"
WRONG = "535 5.7.8 Authentication credentials invalid ["


@pytest.mark.trap(1)
def test_trap_1_a_login_belongs_to_its_connection(
    dial: Dialer, tenant: Tenant, sandbox: Sandbox
) -> None:
    """Two clients of one address: the second is not logged in because the first is."""
    first = dial.as_tenant(tenant)
    second = dial().secure()

    assert second.say(f"MAIL FROM:<{tenant.sender}>").startswith("530 5.7.0 Authentication requ")
    assert second.say(f"RCPT TO:<{recipient()}>").startswith("530 5.7.0 ")
    assert second.say("DATA").startswith("530 5.7.0 ")
    assert first.mail(tenant.sender, [recipient()], letter(tenant)).startswith("250 Ok ")
    assert len(sandbox.emails()) == 1


@pytest.mark.trap(2)
def test_trap_2_a_good_login_does_not_open_for_another_password(
    dial: Dialer, proxied_port: int, tenant: Tenant
) -> None:
    """Right user name, other password, within the life of the cached login: 535."""
    good = dial(port=proxied_port, announced="192.0.2.2").secure()
    assert good.say(f"AUTH PLAIN {plain(tenant.username, tenant.password)}") == IN

    other = dial(port=proxied_port, announced="192.0.2.2").secure()
    assert other.say(f"AUTH PLAIN {plain(tenant.username, tenant.password + ' ')}").startswith(
        WRONG
    )
    assert other.say(f"AUTH PLAIN {plain(tenant.username, '')}").startswith(WRONG)
    assert other.say(f"MAIL FROM:<{tenant.sender}>").startswith("530 5.7.0 ")


RELAY_PROBES = (
    ("MAIL FROM:<a@tenant.example>", "RCPT TO:<b@example.org>", "DATA"),
    ("MAIL FROM:<>", "RCPT TO:<b@example.org>", "DATA"),
    ("MAIL FROM:<a@tenant.example> AUTH=a@tenant.example", "RCPT TO:<b@example.org>", "DATA"),
    ("MAIL FROM:<a@localhost>", "RCPT TO:<b%example.org@localhost>", "DATA"),
    ("MAIL FROM:<a@tenant.example>", "RCPT TO:<@localhost:b@example.org>", "DATA"),
    ('MAIL FROM:<"a b"@tenant.example>', 'RCPT TO:<"b@example.org">', "DATA"),
    ("HELO x", "MAIL FROM:<a@tenant.example>", "RCPT TO:<b@example.org>", "DATA"),
)


@pytest.mark.trap(3)
@pytest.mark.parametrize("lines", RELAY_PROBES, ids=range(len(RELAY_PROBES)))
def test_trap_3_nothing_is_sent_without_a_login(
    dial: Dialer, tenant: Tenant, sandbox: Sandbox, lines: tuple[str, ...]
) -> None:
    """The usual probes for an open relay, after TLS and after a refused login."""
    wire = dial().secure()
    assert wire.say(f"AUTH PLAIN {plain('nobody', 'apikey')}").startswith(WRONG)

    said = [wire.say(line)[:3] for line in lines]
    assert [code for code in said if code != "250"] == ["530", "530", "530"]
    assert sandbox.emails() == []


@pytest.mark.trap(3)
@pytest.mark.parametrize(
    ("username", "password"),
    [
        ("t@tenant.example", f"{SECRET} wrong"),
        ("t@tenant.example", ""),
        ("", ""),
        ("apikey", "SG.something"),
        ("apikey", "ck_pat_ffffffffffffffffffffffffffffffffffffffff"),
        ("apikey", "ck_pat_"),
        ("t@tenant.example' or '1'='1", "' or '1'='1"),
    ],
)
def test_trap_3_a_wrong_secret_never_logs_in(
    dial: Dialer, proxied_port: int, tenant: Tenant, username: str, password: str
) -> None:
    """Neither by PLAIN nor by LOGIN."""
    wire = dial(port=proxied_port, announced="192.0.2.3").secure()
    assert wire.say(f"AUTH PLAIN {plain(username, password)}").startswith(WRONG)
    assert wire.say("AUTH LOGIN") == "334 VXNlcm5hbWU6"
    assert wire.say(b64(username)) == "334 UGFzc3dvcmQ6"
    assert wire.say(b64(password)).startswith(WRONG)
    assert wire.say(f"MAIL FROM:<{tenant.sender}>").startswith("530 5.7.0 ")


def exchanges(user: str, password: str) -> dict[str, list[tuple[str, str]]]:
    """Every form in which libraries log in: lines to send, each with the reply it gets."""
    response, name, secret = plain(user, password), b64(user), b64(password)
    return {
        "PLAIN at once": [(f"AUTH PLAIN {response}", IN)],
        "PLAIN in two steps": [("AUTH PLAIN", "334 "), (response, IN)],
        "plain in lower case": [(f"auth plain {response}", IN)],
        "PLAIN with its own authorisation id": [(f"AUTH PLAIN {plain(user, password, user)}", IN)],
        "LOGIN in three steps": [
            ("AUTH LOGIN", "334 VXNlcm5hbWU6"),
            (name, "334 UGFzc3dvcmQ6"),
            (secret, IN),
        ],
        "LOGIN with the user name": [(f"AUTH LOGIN {name}", "334 UGFzc3dvcmQ6"), (secret, IN)],
        "login in lower case": [(f"Auth login {name}", "334 UGFzc3dvcmQ6"), (secret, IN)],
    }


@pytest.mark.trap(4)
@pytest.mark.parametrize("form", exchanges("", ""))
@pytest.mark.parametrize("kind", ["password", "token"])
def test_trap_4_every_form_of_auth_logs_in(
    dial: Dialer, tenant: Tenant, sandbox: Sandbox, form: str, kind: str
) -> None:
    """PLAIN and LOGIN in all their forms, with a password and with an access token."""
    pair = (tenant.username, tenant.password) if kind == "password" else ("apikey", tenant.token)
    wire = dial().secure()
    for line, expected in exchanges(*pair)[form]:
        assert wire.say(line) == expected

    assert wire.mail(tenant.sender, [recipient()], letter(tenant)).startswith("250 Ok ")
    assert len(sandbox.accepted()) == 1


@pytest.mark.trap(4)
@pytest.mark.parametrize(
    ("lines", "code"),
    [
        (["AUTH CRAM-MD5"], "504 5.5.4"),
        (["AUTH PLAIN ***"], "501 5.5.2"),
        (["AUTH PLAIN", "*"], "501 5.7.0"),
        (["AUTH LOGIN", "=x"], "501 5.5.2"),
        (["AUTH PLAIN " + "A" * 13_000], "500 5.5.6"),
        (["AUTH"], "501 5.5.4"),
        (["AUTH PLAIN =", "NOOP"], "250 OK"),
    ],
)
def test_trap_4_bad_exchanges_have_their_own_replies(
    dial: Dialer, sandbox: Sandbox, lines: list[str], code: str
) -> None:
    """Nothing of a broken exchange is read as a command, and the next command is."""
    wire = dial().secure()
    assert [wire.say(line) for line in lines][-1].startswith(code)
    assert wire.say("NOOP") == "250 OK"


def test_a_long_token_in_one_line_is_taken(dial: Dialer, tenant: Tenant) -> None:
    """RFC 4954 keeps AUTH short; clients put long tokens there: it is refused as wrong only."""
    wire = dial().secure()
    assert wire.say(f"AUTH PLAIN {plain('apikey', 'x' * 8_000)}").startswith(WRONG)


@pytest.mark.trap(24)
def test_trap_24_parallel_wrong_logins_get_no_further_than_one_after_the_other(
    dial: Dialer, proxied_port: int, tenant: Tenant, sandbox: Sandbox
) -> None:
    """Sixty different passwords at once: five reach the API, the other sessions are locked out."""
    count = 60
    wires = [dial(port=proxied_port, announced="192.0.2.24").secure() for _ in range(count)]
    for number, wire in enumerate(wires):
        wire.send(f"AUTH PLAIN {plain(tenant.username, f'{SECRET} {number}x')}\r\n".encode())

    said = [wire.reply()[:9] for wire in wires]
    assert sorted(set(said)) == ["421 4.7.0", "535 5.7.8"]
    assert said.count("535 5.7.8") == 5
    assert len(sandbox.requests("/token")) == 5


def symfony(wire: Wire, user: str, password: str) -> list[str]:
    """How Symfony Mailer logs in: one mechanism after the other, each refusal followed by RSET."""
    said = [wire.say(f"AUTH LOGIN {b64(user)}"), wire.say(b64(password)), wire.say("RSET")]
    said += [wire.say(f"AUTH PLAIN {plain(user, password, user)}"), wire.say("RSET")]
    return [reply[:3] for reply in said]


@pytest.mark.trap(25)
def test_trap_25_one_wrong_password_tried_often_is_one(
    dial: Dialer, proxied_port: int, tenant: Tenant, sandbox: Sandbox
) -> None:
    """Symfony and smtplib try each mechanism in turn, again and again: nobody is locked out."""
    wrong = f"{SECRET} mistyped"
    for _ in range(4):
        wire = dial(port=proxied_port, announced="192.0.2.25").secure()
        assert symfony(wire, tenant.username, wrong) == ["334", "535", "250", "535", "250"]
        wire.close()

    wire = dial(port=proxied_port, announced="192.0.2.25").secure()
    assert wire.say(f"AUTH PLAIN {plain(tenant.username, tenant.password)}") == IN
    assert len(sandbox.requests("/token")) == 2  # each credential was asked about once


@pytest.mark.trap(25)
def test_trap_25_smtplib_with_a_wrong_password_is_not_locked_out(
    gateway: GatewayProcess, tenant: Tenant, sandbox: Sandbox
) -> None:
    """Six programs with the same wrong password, then the right one."""
    for _ in range(6):
        with smtplib.SMTP("localhost", gateway.port, timeout=20) as client:
            client.starttls(context=gateway.client_context())
            with pytest.raises(smtplib.SMTPAuthenticationError, match="credentials invalid"):
                client.login(tenant.username, f"{SECRET} in a config file")

    with smtplib.SMTP("localhost", gateway.port, timeout=20) as client:
        client.starttls(context=gateway.client_context())
        client.login(tenant.username, tenant.password)
        client.sendmail(tenant.sender, [recipient()], letter(tenant))
    assert len(sandbox.accepted()) == 1


@pytest.mark.trap(25)
@pytest.mark.trap(26)
def test_trap_26_an_attacker_is_locked_out_and_the_owner_is_not(
    dial: Dialer, proxied_port: int, tenant: Tenant, sandbox: Sandbox
) -> None:
    """Five distinct wrong passwords, the sixth is 421; the owner logs in from elsewhere."""

    def attack(number: int) -> str:
        wire = dial(port=proxied_port, announced="192.0.2.66").secure()
        reply = wire.say(f"AUTH PLAIN {plain(tenant.username, f'{SECRET} guess {number}')}")
        wire.close()
        return reply

    assert [attack(number)[:9] for number in range(5)] == ["535 5.7.8"] * 5
    locked = attack(5)
    assert locked.startswith("421 4.7.0 Too many different wrong passwords, retry in ")
    assert len(sandbox.requests("/token")) == 5

    owner = dial(port=proxied_port, announced="192.0.2.67").secure()
    assert owner.say(f"AUTH PLAIN {plain(tenant.username, tenant.password)}") == IN
    # What is known to be good is not refused even where the attacker sits.
    beside = dial(port=proxied_port, announced="192.0.2.66").secure()
    assert beside.say(f"AUTH PLAIN {plain(tenant.username, tenant.password)}") == IN


@pytest.mark.trap(38)
def test_trap_38_failing_sessions_do_not_slow_a_good_one(
    dial: Dialer, proxied_port: int, tenant: Tenant, sandbox: Sandbox
) -> None:
    """A hundred sessions wait for their delayed refusal while a good one logs in and sends."""
    wires = [dial(port=proxied_port, announced="192.0.2.38").secure() for _ in range(100)]
    attempt = f"AUTH PLAIN {plain(tenant.username, f'{SECRET} stale')}\r\n".encode()
    for _ in range(3):  # the third refusal of a session comes after a second
        for wire in wires:
            wire.send(attempt)
        assert all(wire.reply().startswith(WRONG) for wire in wires)
    for wire in wires:  # the fourth after two
        wire.send(attempt)

    said = dial.as_tenant(tenant).mail(tenant.sender, [recipient()], letter(tenant))

    assert said.startswith("250 Ok ")
    assert wires[-1].is_silent()
    assert all(wire.reply().startswith(WRONG) for wire in wires)


def test_an_account_with_a_second_factor_is_told_what_to_do(dial: Dialer, sandbox: Sandbox) -> None:
    """535 with the reason, at AUTH and again at MAIL, where some programs show it."""
    wire = dial().secure()
    said = wire.say(f"AUTH PLAIN {plain(world.MULTI_FACTOR_USERNAME, world.PASSWORD)}")
    assert said.startswith("535 5.7.8 Authentication credentials invalid: the account uses multi-")
    assert "needs an access token" in said
    assert wire.say("MAIL FROM:<a@tenant.example>").startswith(
        "530 5.7.0 Authentication required (previous login failed: "
    )


@pytest.mark.parametrize(
    ("username", "word"),
    [(world.SUSPENDED_USERNAME, "suspended"), (world.WITHOUT_API_USERNAME, "Email API")],
)
def test_an_account_that_may_not_send_hears_why_at_mail(
    dial: Dialer, sandbox: Sandbox, username: str, word: str
) -> None:
    """The login is right: 235, then 550 5.7.1 with the reason, and no request to send."""
    wire = dial().log_in(username, world.PASSWORD)
    said = wire.say(f"MAIL FROM:<{username}>")
    assert said.startswith("550 5.7.1 ")
    assert word in said
    assert sandbox.emails() == []


def test_a_login_that_ended_is_temporary_once_and_good_after_the_next_auth(
    dial: Dialer, tenant: Tenant, sandbox: Sandbox
) -> None:
    """Bearer and refresh token are revoked: 4xx, and the client's retry, with its AUTH, passes."""
    content = letter(tenant)
    assert dial.as_tenant(tenant).mail(tenant.sender, [recipient()], letter(tenant))[:3] == "250"
    sandbox.expire_tokens(refresh_tokens=True)

    refused = dial.as_tenant(tenant).mail(tenant.sender, [recipient()], content)
    assert refused[0] == "4", refused

    again = dial.as_tenant(tenant).mail(tenant.sender, [recipient()], content)
    assert again.startswith("250 Ok ")
    assert len(sandbox.accepted()) == 2


def test_an_expired_bearer_is_renewed_in_silence(
    dial: Dialer, tenant: Tenant, sandbox: Sandbox
) -> None:
    """The client notices nothing, within an open session too."""
    wire = dial.as_tenant(tenant)
    for _ in range(3):
        assert wire.mail(tenant.sender, [recipient()], letter(tenant)).startswith("250 Ok ")
        sandbox.expire_tokens()
    grants = [each["body"] or each["raw_body"] for each in sandbox.requests("/token")]
    assert len(grants) == 3
    assert len(sandbox.accepted()) == 3


def test_a_token_that_may_only_send_needs_its_sender_named(dial: Dialer, sandbox: Sandbox) -> None:
    """It cannot list senders: refused by From, taken by X-Sender-Id."""
    narrow = new_tenant(scopes=("emailapi:send",))
    sandbox.clear(seed_of([narrow]))
    wire = dial().log_in("anything", narrow.token)

    assert wire.mail(narrow.sender, [recipient()], letter(narrow)).startswith("550 5.7.1 ")
    named = letter(narrow, f"X-Sender-Id: {narrow.sender_id}")
    assert wire.mail(narrow.sender, [recipient()], named).startswith("250 Ok ")
