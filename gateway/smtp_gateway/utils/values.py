"""What a setting may hold: the forms of environment variables, as types of pydantic.

Lists are words between commas or spaces; a message says what is wanted and never what was given.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field

Network = IPv4Network | IPv6Network


def _url(value: object) -> object:
    if not isinstance(value, str):
        return value
    parts = urlsplit(value.strip())
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("must be an http:// or https:// address")
    if parts.username or parts.password:
        raise ValueError("must not hold a user name or password")
    if parts.query or parts.fragment:
        raise ValueError("must not hold a query or fragment")
    return value.strip().rstrip("/")


def words(value: object) -> object:
    """A list of the words of a text; what is no text stays as it is."""
    if isinstance(value, str):
        return [word for word in re.split(r"[,\s]+", value) if word]
    return value


def _off(value: object) -> object:
    return None if isinstance(value, str) and value.strip().lower() == "off" else value


def _networks(value: object) -> object:
    found = words(value)
    if not isinstance(found, list):
        return value
    try:
        return [ip_network(word, strict=False) for word in found]
    except ValueError as error:
        raise ValueError("must be a list of networks such as 10.0.0.0/8, 192.0.2.7") from error


Url = Annotated[str, BeforeValidator(_url)]
Port = Annotated[int, Field(ge=1, le=65535)]
PortOrOff = Annotated[Port | None, BeforeValidator(_off)]
Ports = Annotated[tuple[Port, ...], BeforeValidator(words)]
Networks = Annotated[tuple[Network, ...], BeforeValidator(_networks)]
Seconds = Annotated[float, Field(gt=0)]
