"""Trap 34: after a varied run, at the most talkative level, the log holds nothing of anybody.

The same search is made in the log of every gateway of these tests when it ends.
"""

from __future__ import annotations

import pytest

from tests.end_to_end.conftest import Dialer
from tests.end_to_end.test_outages import MAIL_FAULTS
from tests.support.gateway import GatewayProcess
from tests.support.sandbox import Sandbox
from tests.support.tenants import (
    BODY,
    FILE_NAME,
    PRIVATE,
    SECRET,
    SHORTEST_IN_BASE64,
    SUBJECT,
    Tenant,
    letter,
    private_words,
    recipient,
)
from tests.support.wire import b64, eventually, plain

QUIETER = ("rejected", "quota", "422 email", "status 400", "status 404", "half_json", "large 400")


@pytest.mark.trap(34)
def test_trap_34_the_log_of_a_varied_run_holds_nothing_private(
    dial: Dialer, gateway: GatewayProcess, tenant: Tenant, sandbox: Sandbox, proxied_port: int
) -> None:
    """Good mail, refusals by us and by the API, faults, wrong logins, garbage, a lost client."""
    wire = dial.as_tenant(tenant)
    for content in (
        letter(tenant),
        letter(tenant, sender=f"{SUBJECT} <nobody@tenant.example>"),
        letter(tenant, "X-Account-Id: 1005"),
        letter(tenant, f'X-SMTPAPI: {{"to": ["{recipient("eve")}"]}}'),
        letter(tenant, f"X-Tags: {SUBJECT}", f"X-Track-Opens: {BODY}"),
        letter(tenant, f'Content-Type: application/zip; name="{FILE_NAME}.zip"'),
    ):
        wire.mail(tenant.sender, [recipient(), recipient("bob")], content)
    for name in QUIETER:
        rule, _ = MAIL_FAULTS[name]
        sandbox.fault(recipient="bad@*", times=1, **rule)
        wire.mail(tenant.sender, [recipient("bad")], letter(tenant))
        wire.mail(tenant.sender, [recipient(), recipient("bob")], letter(tenant))
    for line in (
        f"MAIL FROM:<{SECRET}@tenant.example> BODY=x",
        f"RCPT TO:<{recipient()}>",
        f"{SECRET} {recipient()}",
        f"VRFY {recipient()}",
    ):
        wire.say(line)
    stranger = dial(port=proxied_port, announced="192.0.2.34").secure()
    stranger.say(f"AUTH PLAIN {plain(tenant.username, f'{SECRET} wrong')}")
    stranger.say(f"AUTH LOGIN {b64(SECRET)}")
    stranger.say(b64(f"{SECRET} again"))
    stranger.say(f"AUTH PLAIN {plain('x', 'ck_pat_00000000000000000000000000000000000000ee')}")
    lost = dial.as_tenant(tenant)
    lost.begin(tenant.sender, [recipient()])
    lost.send(letter(tenant) + b"\n.\r\n" + b"\r\n.\r\n")
    assert lost.reply().startswith("554 5.6.0 ")
    lost.reset()
    wire.close()

    log = gateway.log_text()
    assert private_words(log) == []
    assert log.count('"event":"message"') >= 15
    assert '"event":"login refused"' in log
    eventually(lambda: '"ended_by":"line_ending"' in gateway.log_text(), "the session was logged")


@pytest.mark.trap(34)
def test_trap_34_the_search_finds_what_it_looks_for(tenant: Tenant) -> None:
    """Each private word would be found, also where it stands in base64."""
    for word in PRIVATE:
        assert private_words(f'{{"event":"message","x":"a {word} b"}}') != []
        if len(word) >= SHORTEST_IN_BASE64:
            assert all(word in private_words(b64(f"{'x' * n}{word}")) for n in range(3))
    assert SECRET in private_words(f"AUTH PLAIN {plain(tenant.username, tenant.password)}")
