"""The API misbehaves: what each fault means for a login and for a mail, and that nothing doubles.

The sandbox counts what the API accepted; the client side repeats as relays and libraries do.
"""

from __future__ import annotations

import time
from email.utils import formatdate
from typing import Any

import pytest

from tests.end_to_end.conftest import Dialer
from tests.support.gateway import GatewayProcess
from tests.support.sandbox import Sandbox, recipients
from tests.support.tenants import Tenant, letter, recipient
from tests.support.wire import eventually, plain

Rule = dict[str, Any]

AUTH_FAULTS: dict[str, tuple[Rule, str]] = {
    **{
        f"status {status}": ({"status": status}, "535 5.7.8 Authentication credentials invalid")
        for status in (400, 401, 403, 422)
    },
    **{
        f"status {status}": ({"status": status}, "454 4.7.0 Temporary authentication failure")
        for status in (200, 201, 302, 404, 405, 408, 418, 429, 500, 502, 503, 504)
    },
    **{
        manner: ({"manner": manner}, "454 4.7.0 Temporary authentication failure")
        for manner in ("half_json", "truncate", "close", "reset", "reset_midway", "reset_headers")
    },
    "challenge": ({"status": 200, "body": {"challenge": "x"}}, "535 5.7.8 "),
    "challenge with 401": ({"status": 401, "body": {"challenge": "x"}}, "535 5.7.8 "),
    "page in HTML": ({"status": 200, "body": "<p>hello"}, "454 4.7.0 "),
    "large body": ({"status": 200, "body_bytes": 10_000_000}, "454 4.7.0 "),
    "slow": ({"manner": "slow", "slow_seconds": 1}, "235 2.7.0 "),
    "late": ({"latency_seconds": 1}, "235 2.7.0 "),
}


@pytest.mark.trap(7)
@pytest.mark.parametrize("name", AUTH_FAULTS)
def test_trap_7_each_fault_of_the_token_service_has_its_class(
    dial: Dialer, proxied_port: int, tenant: Tenant, sandbox: Sandbox, name: str
) -> None:
    """A refusal is 535; whatever is no answer about the password is 454."""
    rule, expected = AUTH_FAULTS[name]
    sandbox.fault(path="/token", **rule)
    wire = dial(port=proxied_port, announced="192.0.2.7").secure()

    said = wire.say(f"AUTH PLAIN {plain(tenant.username, tenant.password)}")

    assert said.startswith(expected)
    if not said.startswith("235"):
        assert wire.say(f"MAIL FROM:<{tenant.sender}>").startswith("530 5.7.0 ")


@pytest.mark.trap(7)
def test_trap_7_a_login_that_could_not_be_checked_is_not_remembered_as_wrong(
    dial: Dialer, tenant: Tenant, sandbox: Sandbox
) -> None:
    """After the outage the same password logs in at once."""
    sandbox.fault(path="/token", status=503, times=2)
    wire = dial().secure()
    line = f"AUTH PLAIN {plain(tenant.username, tenant.password)}"

    assert [wire.say(line)[:3] for _ in range(3)] == ["454", "454", "235"]


def detail(message: str, *loc: str, **more: Any) -> dict[str, Any]:
    """A refusal in the API's form."""
    return {"detail": [{"msg": message, "type": "bad_request", "loc": list(loc), **more}]}


NOT_CONFIRMED = "451 4.4.2 Submission not confirmed, try again ["
MAIL_FAULTS: dict[str, tuple[Rule, str]] = {
    "rejected": ({"outcome": "rejected"}, "550 5.7.1 "),
    "error": ({"outcome": "error"}, "451 4.3.0 "),
    "201 without an id": ({"status": 201, "body": {"data": {"status": "queued"}}}, NOT_CONFIRMED),
    "201 in HTML": ({"status": 201, "body": "<p>queued"}, NOT_CONFIRMED),
    **{f"status {status}": ({"status": status}, NOT_CONFIRMED) for status in (
        200, 202, 204, 301, 302, 307, 408, 409, 425, 500, 502, 504, 599,
    )},
    **{f"status {status}": ({"status": status}, "451 4.3.5 ") for status in (404, 405, 406, 415)},
    "status 400": ({"status": 400, "body": detail("nothing known")}, "550 5.6.0 "),
    "forbidden": ({"status": 400, "body": detail("Forbidden", code=8004)}, "550 5.7.1 "),
    "sender": ({"status": 400, "body": detail("Sender is not confirmed")}, "550 5.7.1 "),
    "policy": ({"status": 400, "body": detail("List policy")}, "550 5.7.1 "),
    "quota": ({"status": 400, "body": detail("Monthly quota exceeded")}, "451 4.7.1 "),
    "score": ({"status": 400, "body": detail("Score too low")}, "550 5.7.1 "),
    "status 403": ({"status": 403}, "550 5.7.1 "),
    "status 413": ({"status": 413}, "552 5.3.4 "),
    "status 418": ({"status": 418}, "550 5.6.0 "),
    "422 email": ({"status": 422, "body": detail("no", "body", "email")}, "550 5.1.3 "),
    "422 sender": ({"status": 422, "body": detail("no", "body", "sender", "id")}, "550 5.1.8 "),
    "422 file": ({"status": 422, "body": detail("no", "body", "attachment")}, "550 5.6.1 "),
    "422 other": ({"status": 422, "body": detail("no", "body", "tags")}, "550 5.6.0 "),
    "status 503": ({"status": 503}, "451 4.3.2 "),
    **{manner: ({"manner": manner}, NOT_CONFIRMED) for manner in (
        "half_json", "truncate", "close", "reset", "reset_midway",
    )},
    "large body": ({"status": 200, "body_bytes": 10_000_000}, NOT_CONFIRMED),
    "large 400": ({"status": 400, "body_bytes": 10_000_000}, "550 5.6.0 "),
    "slow": ({"manner": "slow", "slow_seconds": 1}, "250 Ok "),
    "late": ({"latency_seconds": 1}, "250 Ok "),
}  # fmt: skip


@pytest.mark.trap(7)
@pytest.mark.parametrize("name", MAIL_FAULTS)
def test_trap_7_each_fault_of_the_api_has_its_class(
    dial: Dialer, tenant: Tenant, sandbox: Sandbox, name: str
) -> None:
    """For a mail to one, and for one to two of whom the other is accepted."""
    rule, expected = MAIL_FAULTS[name]
    sandbox.fault(recipient="bad@*", **rule)
    wire = dial.as_tenant(tenant)
    # Good mail in between, so that the breaker sees a host that lives.
    pair = ["ada@example.org", "bob@example.org"]
    assert wire.mail(tenant.sender, pair, letter(tenant)).startswith("250 Ok ")

    alone = wire.mail(tenant.sender, ["bad@example.org"], letter(tenant))
    beside = wire.mail(tenant.sender, ["ada@example.org", "bad@example.org"], letter(tenant))

    assert alone.startswith(expected)
    assert beside.startswith(expected if expected.startswith("4") else "250 Ok ")


@pytest.mark.trap(7)
@pytest.mark.parametrize("manner", ["reset_headers", "reset_body"])
def test_trap_7_a_reset_before_the_body_was_read_is_not_confirmed(
    dial: Dialer, tenant: Tenant, sandbox: Sandbox, manner: str
) -> None:
    """Sending had begun, so nobody may say that nothing arrived."""
    wire = dial.as_tenant(tenant)
    pair = ["ada@example.org", "bob@example.org"]
    assert wire.mail(tenant.sender, pair, letter(tenant)).startswith("250 Ok ")
    sandbox.fault(manner=manner)

    assert wire.mail(tenant.sender, [recipient()], letter(tenant)).startswith(NOT_CONFIRMED)


@pytest.mark.trap(7)
def test_trap_7_a_bearer_refused_twice_ends_the_login(
    dial: Dialer, tenant: Tenant, sandbox: Sandbox
) -> None:
    """401 again after one renewal: 554 5.7.8, and the next AUTH asks the API anew."""
    sandbox.fault(status=401)
    wire = dial.as_tenant(tenant)
    assert wire.mail(tenant.sender, [recipient()], letter(tenant)).startswith("554 5.7.8 ")
    assert len(sandbox.emails()) == 2

    sandbox.no_faults()
    again = dial.as_tenant(tenant)
    assert again.mail(tenant.sender, [recipient()], letter(tenant)).startswith("250 Ok ")
    assert len(sandbox.requests("/token")) == 3


LOOKUP_FAULTS: dict[str, tuple[Rule, str]] = {
    "status 429": ({"status": 429}, "451 4.7.1 "),
    **{
        f"status {status}": ({"status": status}, "451 4.3.0 ")
        for status in (200, 302, 404, 500, 502, 503)
    },
    "reset": ({"manner": "reset"}, "451 4.3.0 "),
    "half_json": ({"manner": "half_json"}, "451 4.3.0 "),
}


@pytest.mark.trap(7)
@pytest.mark.parametrize("path", ["/brands/default/senders", "/lists"])
@pytest.mark.parametrize("name", LOOKUP_FAULTS)
def test_trap_7_a_fault_of_a_look_up_is_temporary_and_certain(
    dial: Dialer, tenant: Tenant, sandbox: Sandbox, name: str, path: str
) -> None:
    """Nothing was sent, so nothing is ambiguous; afterwards the mail goes out."""
    rule, expected = LOOKUP_FAULTS[name]
    sandbox.fault(path=path, **rule)
    wire = dial.as_tenant(tenant)
    content = letter(tenant)

    assert wire.mail(tenant.sender, [recipient()], content).startswith(expected)
    assert sandbox.emails() == []

    sandbox.no_faults()
    assert wire.mail(tenant.sender, [recipient()], content).startswith("250 Ok ")


@pytest.mark.trap(7)
@pytest.mark.parametrize(
    ("path", "status", "expected"),
    [
        ("/brands/default/senders", 401, "554 5.7.8 "),
        ("/lists", 401, "554 5.7.8 "),
        ("/brands/default/senders", 403, "550 5.7.1 "),
        ("/lists", 403, "250 Ok "),
        ("/accounts/self", 403, "250 Ok "),
        ("/accounts/self", 503, "250 Ok "),
    ],
)
def test_trap_7_a_look_up_that_is_refused_has_its_class(
    dial: Dialer, tenant: Tenant, sandbox: Sandbox, path: str, status: int, expected: str
) -> None:
    """A login that no longer holds, senders that may not be seen, a list that is not needed."""
    sandbox.fault(path=path, status=status)
    wire = dial.as_tenant(tenant)

    assert wire.mail(tenant.sender, [recipient()], letter(tenant)).startswith(expected)
    assert len(sandbox.accepted()) == (1 if expected == "250 Ok " else 0)


THREE = ["ada@example.org", "bob@example.org", "eve@example.org"]


@pytest.mark.trap(8)
def test_trap_8_a_partial_failure_is_temporary_and_the_retry_sends_what_is_missing(
    dial: Dialer, tenant: Tenant, sandbox: Sandbox
) -> None:
    """Two accepted and a 503: 451; the repeat is one call more and 250."""
    sandbox.fault(recipient="bob@*", status=503, times=1)
    content = letter(tenant)

    assert dial.as_tenant(tenant).mail(tenant.sender, THREE, content).startswith("451 4.3.2 ")
    assert sorted(recipients(sandbox.accepted())) == ["ada@example.org", "eve@example.org"]

    assert dial.as_tenant(tenant).mail(tenant.sender, THREE, content).startswith("250 Ok ")
    assert sorted(recipients(sandbox.accepted())) == THREE
    assert len(sandbox.emails()) == 4


@pytest.mark.trap(9)
@pytest.mark.trap(28)
def test_trap_9_429_in_the_middle_sends_nobody_twice(
    dial: Dialer, tenant: Tenant, sandbox: Sandbox
) -> None:
    """Told to wait a second, waits and asks again; refused again: 451, and the retry sends one."""
    sandbox.fault(recipient="bob@*", status=429, headers={"Retry-After": "1"}, times=2)
    content = letter(tenant)
    wire = dial.as_tenant(tenant)

    assert wire.mail(tenant.sender, THREE, content).startswith("451 4.7.1 Rate limit, retry in 1 s")
    assert sorted(recipients(sandbox.accepted())) == ["ada@example.org", "eve@example.org"]

    assert wire.mail_when_taken(tenant.sender, THREE, content).startswith("250 Ok ")
    assert sorted(recipients(sandbox.accepted())) == THREE
    assert len(sandbox.emails()) == 5


@pytest.mark.trap(10)
@pytest.mark.parametrize("manner", ["reset", "close", "truncate", "half_json", "reset_midway"])
def test_trap_10_accepted_and_then_lost_is_one_mail_after_the_retry(
    dial: Dialer, tenant: Tenant, sandbox: Sandbox, manner: str
) -> None:
    """The API accepts and its answer is lost: 451; the repeat finds the mail in the API's log."""
    sandbox.fault(manner=manner, accept=True, times=1)
    content = letter(tenant)
    assert (
        dial.as_tenant(tenant).mail(tenant.sender, [recipient()], content).startswith(NOT_CONFIRMED)
    )
    (sent,) = sandbox.accepted()

    again = dial.as_tenant(tenant).mail(tenant.sender, [recipient()], content)

    assert again == f"250 Ok {sent['email_id']}"
    assert len(sandbox.emails()) == 1


@pytest.mark.trap(10)
def test_trap_10_what_the_log_does_not_show_yet_is_not_sent_again(
    dial: Dialer, tenant: Tenant, sandbox: Sandbox
) -> None:
    """The API's log lags behind: 451 again and again, one request, and 250 once it shows."""
    sandbox.behave(log_delay_seconds=600)
    sandbox.fault(manner="reset", accept=True, times=1)
    content = letter(tenant)
    wire = dial.as_tenant(tenant)
    for _ in range(3):
        assert wire.mail(tenant.sender, [recipient()], content).startswith(NOT_CONFIRMED)

    sandbox.behave(log_delay_seconds=0)
    assert wire.mail(tenant.sender, [recipient()], content).startswith("250 Ok ")
    assert len(sandbox.emails()) == 1


def test_an_answer_that_comes_too_late_for_the_client_is_found_again(
    dial: Dialer, tenant: Tenant, sandbox: Sandbox
) -> None:
    """A client with little patience repeats while the first call runs: it joins that call."""
    sandbox.fault(latency_seconds=1.5, times=1)
    content = letter(tenant)
    first, second = dial.as_tenant(tenant), dial.as_tenant(tenant)
    first.begin(tenant.sender, [recipient()])
    first.send(content + b".\r\n")
    eventually(lambda: len(sandbox.emails()) == 1, "the first call began")

    repeated = second.mail(tenant.sender, [recipient()], content)

    assert repeated.startswith("250 Ok ")
    assert first.reply() == repeated
    assert len(sandbox.emails()) == 1


@pytest.mark.trap(12)
def test_trap_12_words_of_the_api_are_one_line_without_addresses(
    dial: Dialer, tenant: Tenant, sandbox: Sandbox, gateway: GatewayProcess
) -> None:
    """CR LF, addresses and secrets in ``msg`` reach neither the client nor the log."""
    message = (
        "no\r\n250 Ok smuggled\r\nask owner@tenant.example about "
        "Bearer eyJhbGciOiJSUzI1NiJ9.e30.c2ln or ck_pat_00000000000000000000000000000000000000ff"
    )
    sandbox.fault(status=400, body=detail(message))
    wire = dial.as_tenant(tenant)

    said = wire.mail(tenant.sender, [recipient()], letter(tenant))

    assert said.startswith("550 5.6.0 Message refused: no 250 Ok smuggled ask [address] about ")
    assert [word for word in ("@", "eyJ", "ck_pat", "\n") if word in said] == []
    assert wire.say("NOOP") == "250 OK"  # nothing else had been said
    assert "owner@" not in gateway.log_text()


@pytest.mark.trap(18)
@pytest.mark.parametrize("way", ["reset", "close"])
def test_trap_18_a_client_that_leaves_while_the_api_works_gets_no_second_mail(
    dial: Dialer, tenant: Tenant, sandbox: Sandbox, way: str
) -> None:
    """The call completes without the client, and its repeat is answered from memory."""
    sandbox.fault(latency_seconds=0.5, times=1)
    content = letter(tenant)
    wire = dial.as_tenant(tenant)
    wire.begin(tenant.sender, [recipient()])
    wire.send(content + b".\r\n")
    eventually(lambda: len(sandbox.emails()) == 1, "the call began")
    wire.reset() if way == "reset" else wire.close()
    (sent,) = sandbox.wait_for(1)
    assert sent["accepted"]

    again = dial.as_tenant(tenant).mail(tenant.sender, [recipient()], content)

    assert again == f"250 Ok {sandbox.accepted()[0]['email_id']}"
    assert len(sandbox.emails()) == 1


def in_two_seconds() -> str:
    """A date for Retry-After."""
    return formatdate(time.time() + 2, usegmt=True)


@pytest.mark.trap(28)
@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("form", ["seconds", "date"])
def test_trap_28_a_told_wait_within_the_deadline_is_waited_for(
    dial: Dialer, tenant: Tenant, sandbox: Sandbox, status: int, form: str
) -> None:
    """One repetition after the time the API named, and the client hears 250."""
    told = "1" if form == "seconds" else in_two_seconds()
    sandbox.fault(status=status, headers={"Retry-After": told}, times=1)

    said = dial.as_tenant(tenant).mail(tenant.sender, [recipient()], letter(tenant))

    assert said.startswith("250 Ok ")
    first, second = sandbox.emails()
    assert second["at"] - first["at"] > 0.5


@pytest.mark.trap(28)
@pytest.mark.parametrize(
    ("told", "words"),
    [
        ("5000", "Rate limit, retry in 3600 s ["),
        ("999999", "Rate limit, "),
        ("600", "Rate limit, retry in 600 s ["),
        ("", "Rate limit, "),
        ("soon", "Rate limit, "),
        ("-5", "Rate limit, "),
    ],
)
def test_trap_28_a_wait_that_is_missing_or_absurd_is_451(
    dial: Dialer, tenant: Tenant, sandbox: Sandbox, told: str, words: str
) -> None:
    """No repetition, 451 4.7.1, and MAIL says the same until the pause has passed."""
    sandbox.fault(status=429, headers={"Retry-After": told} if told else {})
    wire = dial.as_tenant(tenant)

    assert wire.mail(tenant.sender, [recipient()], letter(tenant)).startswith("451 4.7.1 Rate limi")
    assert len(sandbox.emails()) == 1
    said = wire.say(f"MAIL FROM:<{tenant.sender}>")
    assert said.startswith("451 4.7.1 " + words)


@pytest.mark.trap(39)
def test_trap_39_the_429_of_one_tenant_is_not_felt_by_another(
    dial: Dialer, tenants: list[Tenant], sandbox: Sandbox
) -> None:
    """One is paused for ten minutes, the other sends."""
    one, other = tenants[:2]
    sandbox.fault(recipient="bad@*", status=429, headers={"Retry-After": "600"})
    throttled, free = dial.as_tenant(one), dial.as_tenant(other)
    assert throttled.mail(one.sender, ["bad@example.org"], letter(one)).startswith("451 4.7.1 ")

    assert throttled.say(f"MAIL FROM:<{one.sender}>").startswith("451 4.7.1 ")
    assert free.mail(other.sender, [recipient()], letter(other)).startswith("250 Ok ")


@pytest.mark.trap(39)
def test_trap_39_the_slowness_of_one_tenant_is_not_felt_by_another(
    dial: Dialer, tenants: list[Tenant], sandbox: Sandbox
) -> None:
    """Thirty calls of one tenant hang; the mail of the other passes them all."""
    slow, quick = tenants[:2]
    sandbox.fault(recipient="slow*@*", latency_seconds=2)
    wires = [dial.as_tenant(slow) for _ in range(3)]
    for number, wire in enumerate(wires):
        wire.begin(slow.sender, [f"slow{number}{name}@example.org" for name in "abcdefghij"])
        wire.send(letter(slow) + b".\r\n")
    eventually(lambda: len(sandbox.emails()) == 30, "thirty calls began")

    assert dial.as_tenant(quick).mail(quick.sender, [recipient()], letter(quick))[:3] == "250"

    assert all(wire.is_silent() for wire in wires)
    assert all(wire.reply().startswith("250 Ok ") for wire in wires)
    assert len(sandbox.accepted()) == 31
