"""Misbehaviour on command: rules that match a request and say what goes wrong with it.

Rules are tried in the order in which they were set; the first that matches and is not used up acts.
Two questions are kept apart, because a gateway must not confuse them: does the API *accept* the
mail, and what does the caller *see*? A lost answer after an accepted mail is the hard case.

A rule with ``manner`` ``reset_headers`` or ``reset_body`` acts before the body has been read, so it
can match method and path only.

Recipients whose local part begins with ``sandbox-`` carry their own rule, for people who try things
by hand: see ``by_recipient``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from cakemail_sandbox.answers import HTML_TYPE, JSON_TYPE, Answer, default_for

Manner = Literal[
    "complete",  # an ordinary answer
    "slow",  # the answer's body dribbles in over ``slow_seconds``
    "half_json",  # a complete answer whose JSON ends in the middle
    "truncate",  # the connection is closed in the middle of the body
    "reset_headers",  # reset when the header has arrived, before the body is read
    "reset_body",  # reset when the first octets of the body have arrived
    "reset",  # reset instead of an answer, the request having been read
    "reset_midway",  # reset in the middle of the answer
    "close",  # closed in good order, without an answer
    "hang",  # no answer for as long as the caller waits
]
_EARLY: tuple[Manner, ...] = ("reset_headers", "reset_body")
_WITHOUT_ANSWER: tuple[Manner, ...] = ("reset", "close", "hang", *_EARLY)
_BY_BODY = ("recipient", "message_id", "username")


class Fault(BaseModel):
    """One rule.

    Attributes:
        method, path, recipient, username: shell patterns (``*``); without a case difference for
            addresses; none matches everything. ``username`` is that of ``POST /token``.
        message_id: the mail's Message-ID exactly.
        skip: let so many matching requests pass first.
        times: act so often; none: always.
        latency_seconds: wait before anything else happens; the caller's giving up changes nothing.
        revoke: the caller's bearer stops counting just before this request is looked at.
        outcome: a mail's ``data.status`` in the 201. Only ``queued`` counts as accepted.
        status, body, media_type, headers: answer this instead. A body that is no text is JSON.
        body_bytes: answer that many octets of filling instead of ``body``.
        manner: how the answer travels.
        slow_seconds: for ``slow``.
        accept: does the API do its work although it answers otherwise? Without a word: only when
            its own answer is sent.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: str = "*"
    path: str = "/v2/emails"
    recipient: str | None = None
    username: str | None = None
    message_id: str | None = None
    skip: int = Field(default=0, ge=0)
    times: int | None = Field(default=None, ge=1)
    latency_seconds: float = Field(default=0, ge=0, le=600)
    revoke: bool = False
    outcome: Literal["queued", "rejected", "error"] | None = None
    status: int | None = Field(default=None, ge=200, le=599)
    body: Any = None
    media_type: str | None = None
    headers: dict[str, str] = Field(default_factory=dict)
    body_bytes: int | None = Field(default=None, ge=0, le=256 * 1024 * 1024)
    manner: Manner = "complete"
    slow_seconds: float = Field(default=2, ge=0, le=600)
    accept: bool | None = None

    @model_validator(mode="after")
    def _possible(self) -> Fault:
        if self.early and any(getattr(self, name) is not None for name in _BY_BODY):
            raise ValueError(f"{self.manner} acts before the body is known: match by path only")
        if self.status is None and (self.body is not None or self.body_bytes is not None):
            raise ValueError("a body needs a status")
        return self

    @property
    def early(self) -> bool:
        """Acts before the body has been read."""
        return self.manner in _EARLY

    @property
    def works(self) -> bool:
        """Whether the API does its work."""
        if self.accept is not None:
            return self.accept
        return self.status is None and self.manner not in _WITHOUT_ANSWER

    def answer(self) -> Answer | None:
        """The answer that replaces the API's own; none: that one is kept."""
        if self.status is None:
            return None
        usual = default_for(self.status)
        body, kind = usual.body, usual.media_type
        if self.body_bytes is not None:
            body, kind = b"x" * self.body_bytes, HTML_TYPE
        elif isinstance(self.body, str):
            body, kind = self.body.encode(), HTML_TYPE
        elif self.body is not None:
            body, kind = json.dumps(self.body).encode(), JSON_TYPE
        return Answer(self.status, body, self.media_type or kind, self.headers)


@dataclass(frozen=True, slots=True)
class Sighting:
    """What of a request a rule can look at; the last three are known once the body was read."""

    method: str
    path: str
    recipient: str | None = None
    username: str | None = None
    message_id: str | None = None


@dataclass(slots=True)
class _Rule:
    fault: Fault
    seen: int = 0
    used: int = 0

    def take(self) -> bool:
        """Count this match; whether the rule acts on it."""
        self.seen += 1
        exhausted = self.fault.times is not None and self.used >= self.fault.times
        if self.seen <= self.fault.skip or exhausted:
            return False
        self.used += 1
        return True


class Faults:
    """The rules in force."""

    def __init__(self) -> None:
        self._rules: list[_Rule] = []

    def replace(self, faults: list[Fault]) -> None:
        """These rules and no others."""
        self._rules = [_Rule(each) for each in faults]

    def add(self, fault: Fault) -> None:
        """One more rule, after the others."""
        self._rules.append(_Rule(fault))

    def early(self, sighting: Sighting) -> Fault | None:
        """The rule that acts before the body is read."""
        return self._first(sighting, early=True)

    def choose(self, sighting: Sighting) -> Fault | None:
        """The rule that acts on a request that was read."""
        chosen = self._first(sighting, early=False)
        return chosen or by_recipient(sighting.recipient or "")

    def listed(self) -> list[dict[str, Any]]:
        """The rules and how often each has matched and acted."""
        return [
            {**each.fault.model_dump(exclude_defaults=True), "seen": each.seen, "used": each.used}
            for each in self._rules
        ]

    def _first(self, sighting: Sighting, *, early: bool) -> Fault | None:
        for rule in self._rules:
            fault = rule.fault
            if fault.early is early and _matches(fault, sighting) and rule.take():
                return fault
        return None


def _matches(fault: Fault, sighting: Sighting) -> bool:
    return (
        fnmatchcase(sighting.method, fault.method.upper())
        and fnmatchcase(sighting.path, fault.path)
        and _fits(fault.recipient, sighting.recipient)
        and _fits(fault.username, sighting.username)
        and (fault.message_id is None or fault.message_id == sighting.message_id)
    )


def _fits(pattern: str | None, value: str | None) -> bool:
    if pattern is None:
        return True
    return value is not None and fnmatchcase(value.casefold(), pattern.casefold())


def _status(found: re.Match[str]) -> Fault:
    after = found["after"]
    return Fault(status=int(found["status"]), headers={"Retry-After": after} if after else {})


# Local part -> what happens; every number is a number of seconds but the status.
_BY_LOCAL_PART: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], Fault]], ...] = (
    (re.compile(r"sandbox-(?P<status>[2-5]\d\d)(?:-after-(?P<after>\d{1,5}))?\Z"), _status),
    (re.compile(r"sandbox-rejected\Z"), lambda _: Fault(outcome="rejected")),
    (re.compile(r"sandbox-error\Z"), lambda _: Fault(outcome="error")),
    (re.compile(r"sandbox-latency-(\d{1,2})\Z"), lambda m: Fault(latency_seconds=int(m[1]))),
    (re.compile(r"sandbox-slow\Z"), lambda _: Fault(manner="slow")),
    (re.compile(r"sandbox-half\Z"), lambda _: Fault(manner="half_json")),
    (re.compile(r"sandbox-truncated\Z"), lambda _: Fault(manner="truncate")),
    (re.compile(r"sandbox-reset\Z"), lambda _: Fault(manner="reset")),
    (re.compile(r"sandbox-lost\Z"), lambda _: Fault(manner="reset", accept=True)),
    (re.compile(r"sandbox-hang\Z"), lambda _: Fault(manner="hang")),
)


def by_recipient(address: str) -> Fault | None:
    """The fault that a recipient's local part asks for, if any."""
    local = address.rpartition("@")[0].lower()
    if not local.startswith("sandbox-"):
        return None
    for pattern, make in _BY_LOCAL_PART:
        found = pattern.match(local)
        if found is not None:
            return make(found)
    return None
