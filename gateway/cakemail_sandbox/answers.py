"""Answers and refusals in the service's forms, as plain data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any, Final

JSON_TYPE: Final = "application/json"
HTML_TYPE: Final = "text/html; charset=utf-8"
FORBIDDEN_CODE: Final = 8004


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back: status, body, and header fields besides type and length."""

    status: int
    body: bytes = b""
    media_type: str = JSON_TYPE
    headers: Mapping[str, str] = field(default_factory=dict)


class Refusal(Exception):
    """Ends the handling of a request with this answer."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(f"answered {answer.status}")
        self.answer = answer


def as_json(status: int, value: object, **headers: str) -> Answer:
    """An answer with a JSON body; underscores in header names become hyphens."""
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    # In ASCII, because a mail may hold half a surrogate pair, which has no UTF-8.
    return Answer(status, json.dumps(value).encode(), JSON_TYPE, named)


def bad_request(message: str, *, code: int | None = None) -> Answer:
    """400 for what the schema allows and the service does not."""
    return _detail(400, message, "bad_request", code)


def forbidden(status: int) -> Answer:
    """An account or a scope that is not the caller's."""
    kind = "bad_request" if status == 400 else "forbidden"  # noqa: PLR2004  # the documented pair
    return _detail(status, "Forbidden", kind, FORBIDDEN_CODE)


def unauthorized(message: str) -> Answer:
    """401."""
    return _detail(401, message, "unauthorized", None)


def unacceptable(problems: list[dict[str, Any]]) -> Answer:
    """422 with one entry a fault."""
    return as_json(422, {"detail": problems})


def invalid(loc: list[str | int], message: str, kind: str = "value_error") -> Answer:
    """422 with a single fault."""
    return unacceptable([{"loc": loc, "msg": message, "type": kind}])


def throttled(seconds: int, form: str, now: float) -> Answer:
    """429; ``form`` is ``seconds``, ``date`` or ``absent``."""
    forms = {"seconds": str(seconds), "date": formatdate(now + seconds, usegmt=True)}
    headers = {"Retry-After": forms[form]} if form in forms else {}
    return as_json(429, {"detail": "Too Many Requests"}, **headers)


def page(status: int, title: str) -> Answer:
    """What a proxy in front of the service says: HTML."""
    text = f"<html><head><title>{status} {title}</title></head><body><h1>{title}</h1></body></html>"
    return Answer(status, text.encode(), HTML_TYPE)


def default_for(status: int) -> Answer:
    """The documented body of a status, for faults that name only the status."""
    makers = {
        400: lambda: bad_request("Bad request"),
        401: lambda: unauthorized("Could not validate credentials"),
        403: lambda: forbidden(403),
        404: lambda: as_json(404, {"detail": "Not Found"}),
        413: lambda: page(413, "Request Entity Too Large"),
        422: lambda: invalid(["body"], "value is not valid"),
        429: lambda: as_json(429, {"detail": "Too Many Requests"}),
        500: lambda: as_json(500, {"detail": [{"msg": "Internal Server Error"}]}),
        502: lambda: page(502, "Bad Gateway"),
        503: lambda: page(503, "Service Unavailable"),
        504: lambda: page(504, "Gateway Time-out"),
    }
    maker = makers.get(status)
    return maker() if maker else as_json(status, {"detail": "Injected by the sandbox"})


def _detail(status: int, message: str, kind: str, code: int | None) -> Answer:
    entry: dict[str, Any] = {"msg": message, "type": kind}
    if code is not None:
        entry["code"] = code
    return as_json(status, {"detail": [entry]})
