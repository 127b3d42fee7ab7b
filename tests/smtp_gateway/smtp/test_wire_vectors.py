"""Dialogues of client libraries, as data: what they send, and the replies that they need."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.dialogue import Dialogue

VECTORS: list[dict[str, Any]] = yaml.safe_load(
    (Path(__file__).parents[2] / "golden" / "wire-vectors.yaml").read_text("utf-8")
)["vectors"]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: str(vector["id"]))
def test_each_dialogue_gets_its_replies(vector: dict[str, Any]) -> None:
    """drop-in 8.1: the forms that the libraries named in each vector send and expect."""
    d = Dialogue()
    {"connected": d.start, "ready": d.ready, "authenticated": d.logged_in}[
        vector["given"]["start"]
    ]()
    for sent, expected in zip(
        vector["given"]["dialogue"], vector["expect"]["replies"], strict=True
    ):
        replies = d.say(sent.encode())
        assert len(replies) == 1
        said = replies[0] if len(expected) > 3 else replies[0][:3]
        assert said == expected


def test_the_message_of_each_dialogue_arrives_as_it_was_meant() -> None:
    """A body that a vector describes is in the content, dots and 8-bit octets included."""
    described = [v for v in VECTORS if "request" in v["expect"]]
    assert len(described) >= 3
    for vector in described:
        d = Dialogue().logged_in()
        for sent in vector["given"]["dialogue"]:
            d.say(sent.encode())
        body = d.mails[0].content.partition(b"\r\n\r\n")[2].decode()
        assert body.replace("\r\n", "\n").rstrip("\n") == vector["expect"]["request"]["text"]
