"""Third-party mail through the wire: it arrives with what it holds, or is refused by name.

The judge is the standard library's reader; what arrived is what the sandbox holds. A 4xx would make
a relay come again for days, and a hang or a crash would take others with it.
"""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.conftest import Dialer
from tests.golden.test_corpora import CORPORA, with_good_header
from tests.support import corpora, judge
from tests.support.gateway import GatewayProcess
from tests.support.sandbox import Sandbox
from tests.support.tenants import Tenant, recipient
from tests.support.wire import Wire

pytestmark = pytest.mark.timeout(200)  # the first run downloads two archives

# A refusal that a person can act on: code, enhanced code, and words.
NAMED = re.compile(r"5\d\d 5\.\d\.\d [A-Z][\w-]+[ :].* \[[0-9a-f]{16}\]")
CONNECTIONS = 4


class Courier:
    """Sends messages over a few connections in turn; a refusal may close one."""

    def __init__(self, dial: Dialer, tenant: Tenant) -> None:
        self._dial = dial
        self._tenant = tenant
        self._wires: list[Wire] = []

    def send(self, content: bytes) -> str:
        """The reply to the end of data."""
        if len(self._wires) < CONNECTIONS:
            self._wires.append(self._dial.as_tenant(self._tenant))
        wire = self._wires.pop(0)
        said = wire.mail(self._tenant.sender, [recipient()], content)
        if said.startswith("554 "):  # some of these close the connection
            wire.close()
        else:
            self._wires.append(wire)
        return said


@pytest.fixture(params=CORPORA)
def corpus(request: pytest.FixtureRequest) -> list[corpora.Message]:
    """All messages of one collection."""
    read, _ = CORPORA[request.param]
    cache: Any = request.config.cache
    return read(Path(cache.mkdir("corpora")))


def with_sender(message: corpora.Message, tenant: Tenant) -> bytes:
    """The message from a sender who may send; some are equal but for their Message-ID."""
    good = with_good_header(message.content)
    good = good.replace(b"From: shop@sender.test", f"From: {tenant.sender}".encode(), 1)
    return good.replace(b"<m@sender.test>", f"<{message.name}@tenant.example>".encode(), 1)


def carried(mail: dict[str, Any], noted: list[str]) -> judge.Carried:
    """What a captured request holds."""
    content = mail["body"]["content"]
    files = [base64.b64decode(each["content"]) for each in mail["body"].get("attachment", [])]
    return judge.Carried(content.get("html"), content.get("text"), files, set(noted))


def noted_by_id(gateway: GatewayProcess) -> dict[str, list[str]]:
    """What the log says about each message: names without an effect, by the id of its 250."""
    lines = gateway.log_lines("message")
    return {line["receipt_id"]: line["noted"] for line in lines if line["outcome"] == "accepted"}


def test_messages_as_they_are_arrive_or_are_refused_by_name(
    dial: Dialer, tenant: Tenant, sandbox: Sandbox, corpus: list[corpora.Message]
) -> None:
    """Their senders are nobody's here, so nearly all are refused; never with a 4xx."""
    courier = Courier(dial, tenant)
    said = {message.name: courier.send(message.content) for message in corpus}

    assert {name: reply for name, reply in said.items() if not NAMED.fullmatch(reply)} == {}
    assert sandbox.emails() == []


def test_messages_with_a_good_sender_arrive_whole_or_are_refused_by_name(
    dial: Dialer,
    gateway: GatewayProcess,
    tenant: Tenant,
    sandbox: Sandbox,
    corpus: list[corpora.Message],
) -> None:
    """Bodies and files at the API are those that the judge finds; the rest has a named reason."""
    courier = Courier(dial, tenant)
    contents = {each.name: with_sender(each, tenant) for each in corpus}
    said = {name: courier.send(content) for name, content in contents.items()}
    arrived = {f"250 Ok {mail['email_id']}": mail for mail in sandbox.accepted()}
    noted = noted_by_id(gateway)

    unnamed = [reply for reply in said.values() if reply not in arrived]
    assert [reply for reply in unnamed if not NAMED.fullmatch(reply)] == []
    assert len(unnamed) + len(arrived) == len(corpus)
    assert len(arrived) > 0.1 * len(corpus)
    faults = [
        f"{name}: {fault}"
        for name, reply in said.items()
        if reply in arrived
        for fault in judge.lost(
            contents[name], carried(arrived[reply], noted[reply.removeprefix("250 Ok ")])
        )
    ]
    assert faults == []
