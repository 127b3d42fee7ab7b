"""Mail to submission: each ``mail/*.eml`` beside the ``*.json`` that should come out.

``pytest tests/golden --update-golden`` rewrites the JSON from what the code does now; read the
difference before it is committed. A case may begin with a ``policy`` of its own, which stays.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from smtp_gateway.email.message import Submission
from smtp_gateway.email.transformer import transform
from smtp_gateway.errors import GatewayError
from smtp_gateway.policy import EmailType, InlineImages, Policy, Tracking

MAIL = Path(__file__).parent / "mail"
CASES = sorted(path.stem for path in MAIL.glob("*.eml"))
DIGEST = bytes(range(32))


@pytest.mark.parametrize("name", CASES)
def test_mail_becomes_what_stands_beside_it(name: str, *, update_golden: bool) -> None:
    """The submission, or the refusal, of each stored message is the stored one."""
    expected_file = MAIL / f"{name}.json"
    stored = json.loads(expected_file.read_text("utf-8")) if expected_file.exists() else {}
    actual = {"policy": stored["policy"]} if "policy" in stored else {}
    actual |= outcome(as_received((MAIL / f"{name}.eml").read_bytes()), stored.get("policy", {}))
    if update_golden:
        text = json.dumps(actual, indent=2, ensure_ascii=False, sort_keys=False)
        expected_file.write_text(f"{text}\n", encoding="utf-8")
    assert actual == json.loads(expected_file.read_text("utf-8"))


def test_there_are_cases_and_no_json_without_its_mail() -> None:
    """A renamed message would otherwise leave an expectation that nobody checks."""
    assert len(CASES) > 150
    assert sorted(path.stem for path in MAIL.glob("*.json")) == CASES


def as_received(stored: bytes) -> bytes:
    """The files are kept with LF; the SMTP side hands over CRLF."""
    return stored.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def outcome(content: bytes, policy: dict[str, Any]) -> dict[str, Any]:
    """What the transformer says, as JSON."""
    try:
        found = transform(content, read_policy(policy), digest=DIGEST)
    except GatewayError as refusal:
        return {"refused": {"error": type(refusal).__name__, **refusal.facts}}
    return {"submission": as_json(found)}


def read_policy(changes: dict[str, Any]) -> Policy:
    """The default policy with the case's own values."""
    readers: dict[str, Any] = {
        "email_type": EmailType,
        "inline_images": InlineImages,
        "tags": tuple,
        "tracking": lambda value: Tracking(**value),
    }
    values = {name: readers.get(name, int)(value) for name, value in changes.items()}
    return dataclasses.replace(Policy(), **values)


def as_json(found: Submission) -> dict[str, Any]:
    """A submission with its base64 as text; the digest and the size are the test's own."""
    plain = dataclasses.asdict(found)
    del plain["steering"]["digest"], plain["steering"]["size_bytes"]
    for attachment in plain["attachments"]:
        attachment["content"] = attachment["content"].decode("ascii")
    result: dict[str, Any] = json.loads(json.dumps(plain))
    return result
