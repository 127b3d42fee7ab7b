"""Dialogues of client libraries, as data, with the running gateway: replies and what arrives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from cakemail_sandbox.seed import AccessToken, Account, Seed, Sender
from tests.end_to_end.conftest import Dialer
from tests.support.sandbox import Sandbox
from tests.support.tenants import SCOPES

FILE = Path(__file__).parents[1] / "golden" / "wire-vectors.yaml"
VECTORS: list[dict[str, Any]] = yaml.safe_load(FILE.read_text("utf-8"))["vectors"]
TOKEN = "ck_pat_0123456789abcdef0123456789abcdef01234567"
SENDER = "shop@sender.test"
ACCOUNT = 41_000


@pytest.fixture
def sandbox(running_sandbox: Sandbox) -> Sandbox:
    """The sandbox with the one customer of these dialogues."""
    account = Account(
        id=ACCOUNT,
        name="Shop",
        lineage="1",
        senders=(Sender(id="77", name="Shop", email=SENDER),),
    )
    token = AccessToken(token=TOKEN, accounts=(ACCOUNT,), scopes=SCOPES)
    running_sandbox.clear(Seed(accounts=(account,), access_tokens=(token,)))
    return running_sandbox


@pytest.mark.trap(4)
@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: str(vector["id"]))
def test_each_dialogue_gets_its_replies_and_its_mail_arrives(
    dial: Dialer, sandbox: Sandbox, vector: dict[str, Any]
) -> None:
    """drop-in 8.1: octets as the libraries send them, over TLS, one write each."""
    given, expected = vector["given"], vector["expect"]
    wire = dial()
    if given["start"] == "ready":
        wire.secure()
    elif given["start"] == "authenticated":
        wire.log_in("apikey", TOKEN)
    for sent, reply in zip(given["dialogue"], expected["replies"], strict=True):
        wire.send(sent.encode())
        said = wire.reply()
        assert (said if len(reply) > 3 else said[:3]) == reply

    emails = sandbox.emails()
    assert len(emails) == expected.get("requests", 0)
    if "request" in expected:
        text = emails[0]["body"]["content"]["text"]
        assert text.rstrip("\n") == expected["request"]["text"]
