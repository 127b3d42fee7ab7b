"""What settings may hold."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from smtp_gateway.utils.values import Networks, PortOrOff, Ports, Seconds, Url, words

GOOD: list[tuple[Any, str, object]] = [
    (Url, "https://api.example/v1/", "https://api.example/v1"),
    (Ports, "25, 2525", (25, 2525)),
    (Ports, "", ()),
    (PortOrOff, "OFF", None),
    (PortOrOff, "587", 587),
    (Seconds, "0.5", 0.5),
    (Networks, "10.0.0.1/8 192.0.2.7", (ip_network("10.0.0.0/8"), ip_network("192.0.2.7/32"))),
]
BAD: list[tuple[Any, str]] = [
    (Url, "ftp://api.example"),
    (Url, "https://user:secret@api.example"),
    (Url, "https://api.example/?a=b"),
    (Ports, "25,x"),
    (Ports, "0"),
    (PortOrOff, "no"),
    (Seconds, "0"),
    (Networks, "10.0.0.0/33"),
]


@pytest.mark.parametrize(("kind", "text", "value"), GOOD)
def test_a_text_becomes_its_value(kind: Any, text: str, value: object) -> None:
    """As people write it in the environment."""
    assert TypeAdapter(kind).validate_python(text) == value


@pytest.mark.parametrize(("kind", "text"), BAD)
def test_another_text_is_refused(kind: Any, text: str) -> None:
    """At the start, not at its first use."""
    with pytest.raises(ValidationError):
        TypeAdapter(kind).validate_python(text)


def test_words_stand_between_commas_and_spaces() -> None:
    """In any number."""
    assert words(" a, b  c,,") == ["a", "b", "c"]
    assert words(7) == 7
