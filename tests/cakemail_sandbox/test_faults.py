"""Misbehaviour on command: the rules as such, and what a client sees of each over a real socket."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from cakemail_sandbox.faults import Fault, Faults, Sighting, by_recipient
from tests.cakemail_sandbox.mails import MESSAGE_ID, mail
from tests.support.sandbox import FULL_TOKEN, PASSWORD, USERNAME, Sandbox

SEND = Sighting("POST", "/v2/emails", recipient="bob@example.org", message_id=MESSAGE_ID)


def acts(rule: Fault, *sightings: Sighting) -> list[bool]:
    """Whether the rule acts on each of these in turn."""
    faults = Faults()
    faults.add(rule)
    return [faults.choose(each) is rule for each in sightings]


# -- the rules


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({}, True),
        ({"recipient": "bob@*"}, True),
        ({"recipient": "BOB@EXAMPLE.ORG"}, True),
        ({"recipient": "carol@*"}, False),
        ({"message_id": MESSAGE_ID}, True),
        ({"message_id": "<other@shop.example.com>"}, False),
        ({"method": "get"}, False),
        ({"path": "*"}, True),
        ({"path": "/token"}, False),
        ({"username": "*"}, False),
    ],
)
def test_a_rule_acts_on_what_it_matches(rule: dict[str, Any], *, expected: bool) -> None:
    """All its conditions must hold; none means all mails."""
    assert acts(Fault(status=503, **rule), SEND) == [expected]


@pytest.mark.parametrize(
    ("skip", "times", "expected"),
    [
        (0, None, [True, True, True, True]),
        (1, None, [False, True, True, True]),
        (0, 1, [True, False, False, False]),
        (1, 2, [False, True, True, False]),
    ],
)
def test_a_rule_counts(skip: int, times: int | None, expected: list[bool]) -> None:
    """It lets some pass, acts so often, and is used up."""
    assert acts(Fault(status=503, skip=skip, times=times), SEND, SEND, SEND, SEND) == expected


def test_the_first_rule_that_is_not_used_up_acts() -> None:
    """So a series of different answers is a list of rules."""
    faults = Faults()
    faults.replace([Fault(status=503, times=1), Fault(status=429, times=1)])

    chosen = [faults.choose(SEND) for _ in range(3)]

    assert [each and each.status for each in chosen] == [503, 429, None]
    assert faults.listed() == [
        {"status": 503, "times": 1, "seen": 3, "used": 1},
        {"status": 429, "times": 1, "seen": 2, "used": 1},
    ]


@pytest.mark.parametrize(
    "rule",
    [
        {"manner": "reset_headers", "recipient": "*"},
        {"manner": "reset_body", "message_id": "<a@b>"},
        {"body": "text"},
        {"status": 99},
        {"manner": "explode"},
        {"unknown": 1},
        {"times": 0},
    ],
)
def test_a_rule_that_cannot_act_is_refused(rule: dict[str, Any]) -> None:
    """When it is made, not silently when it should act."""
    with pytest.raises(ValidationError):
        Fault(**rule)


@pytest.mark.parametrize(
    ("rule", "works"),
    [
        ({}, True),
        ({"latency_seconds": 1}, True),
        ({"manner": "half_json"}, True),
        ({"outcome": "rejected"}, True),
        ({"status": 500}, False),
        ({"status": 500, "accept": True}, True),
        ({"manner": "reset"}, False),
        ({"manner": "reset", "accept": True}, True),
        ({"manner": "hang"}, False),
    ],
)
def test_the_api_works_only_where_its_answer_is_sent_unless_told(
    rule: dict[str, Any], *, works: bool
) -> None:
    """What the caller sees and what the API does are two questions."""
    assert Fault(**rule).works is works


@pytest.mark.parametrize(
    ("local", "expected"),
    [
        ("sandbox-503", Fault(status=503)),
        ("sandbox-429-after-7", Fault(status=429, headers={"Retry-After": "7"})),
        ("SANDBOX-REJECTED", Fault(outcome="rejected")),
        ("sandbox-error", Fault(outcome="error")),
        ("sandbox-latency-12", Fault(latency_seconds=12)),
        ("sandbox-slow", Fault(manner="slow")),
        ("sandbox-half", Fault(manner="half_json")),
        ("sandbox-truncated", Fault(manner="truncate")),
        ("sandbox-reset", Fault(manner="reset")),
        ("sandbox-lost", Fault(manner="reset", accept=True)),
        ("sandbox-hang", Fault(manner="hang")),
        ("sandbox-", None),
        ("sandbox-999", None),
        ("bob", None),
    ],
)
def test_a_recipient_can_ask_for_a_fault(local: str, expected: Fault | None) -> None:
    """For a person who tries what a client does, without the control API."""
    assert by_recipient(f"{local}@example.org") == expected


# -- answers


@pytest.mark.parametrize(
    ("status", "media_type"),
    [
        (400, "application/json"),
        (401, "application/json"),
        (403, "application/json"),
        (404, "application/json"),
        (409, "application/json"),
        (413, "text/html; charset=utf-8"),
        (422, "application/json"),
        (429, "application/json"),
        (500, "application/json"),
        (502, "text/html; charset=utf-8"),
        (503, "text/html; charset=utf-8"),
        (504, "text/html; charset=utf-8"),
        (204, "application/json"),
        (302, "application/json"),
    ],
)
def test_a_status_comes_with_its_usual_body(
    sandbox: Sandbox, api: httpx.Client, status: int, media_type: str
) -> None:
    """And the mail is not accepted."""
    sandbox.fault(status=status, body="" if status == 204 else None, media_type=media_type)

    answer = api.post("/v2/emails", json=mail())

    assert (answer.status_code, answer.headers["content-type"]) == (status, media_type)
    assert sandbox.accepted() == []


@pytest.mark.parametrize("after", ["2", "Wed, 21 Oct 2099 07:28:00 GMT", "-1", "soon", "9" * 40])
def test_any_retry_after_can_be_sent(sandbox: Sandbox, api: httpx.Client, after: str) -> None:
    """Seconds, a date, and what nobody can read."""
    sandbox.fault(status=429, headers={"Retry-After": after})

    assert api.post("/v2/emails", json=mail()).headers["retry-after"] == after


def test_a_body_of_ones_own_can_be_sent(sandbox: Sandbox, api: httpx.Client) -> None:
    """JSON or text, hostile ones too."""
    detail = [{"msg": "no\r\n250 Ok for bob@example.org", "type": "bad_request"}]
    sandbox.fault(status=400, body={"detail": detail}, times=1)
    sandbox.fault(status=400, body="<h1>no</h1>", times=1)

    first, second = (api.post("/v2/emails", json=mail()) for _ in range(2))

    assert first.json() == {"detail": detail}
    assert (second.text, second.headers["content-type"]) == (
        "<h1>no</h1>", "text/html; charset=utf-8",
    )  # fmt: skip


def test_a_big_body_can_be_sent(sandbox: Sandbox, api: httpx.Client) -> None:
    """Ten megabytes of an error."""
    sandbox.fault(status=500, body_bytes=10_000_000)

    assert len(api.post("/v2/emails", json=mail()).content) == 10_000_000


def test_a_redirect_can_be_sent(sandbox: Sandbox, api: httpx.Client) -> None:
    """A client that follows it gives its bearer away."""
    sandbox.fault(status=307, headers={"Location": "http://127.0.0.1:1/v2/emails"})

    answer = api.post("/v2/emails", json=mail())

    assert (answer.status_code, answer.headers["location"]) == (
        307, "http://127.0.0.1:1/v2/emails",
    )  # fmt: skip


@pytest.mark.parametrize("outcome", ["rejected", "error"])
def test_a_mail_can_end_otherwise_than_queued(
    sandbox: Sandbox, api: httpx.Client, outcome: str
) -> None:
    """201, an id, the same status in the look-up, and not accepted."""
    sandbox.fault(outcome=outcome)

    data = api.post("/v2/emails", json=mail()).json()["data"]

    assert data["status"] == outcome
    assert api.get(f"/v2/emails/{data['id']}").json()["status"] == outcome
    assert sandbox.counts() == {}


def test_an_error_can_follow_an_accepted_mail(sandbox: Sandbox, api: httpx.Client) -> None:
    """A 500 proves nothing."""
    sandbox.fault(status=500, accept=True)

    answer = api.post("/v2/emails", json=mail())

    assert answer.status_code == 500
    assert sandbox.counts() == {(MESSAGE_ID, "bob@example.org"): 1}


def test_half_of_the_json_can_be_sent(sandbox: Sandbox, api: httpx.Client) -> None:
    """The HTTP answer is whole, its JSON is not."""
    sandbox.fault(manner="half_json")

    answer = api.post("/v2/emails", json=mail())

    assert (answer.status_code, len(answer.content)) == (201, int(answer.headers["content-length"]))
    with pytest.raises(json.JSONDecodeError):
        answer.json()


def test_an_answer_can_be_slow(sandbox: Sandbox, api: httpx.Client) -> None:
    """Its body dribbles in: more than one piece, over at least the time set."""
    sandbox.fault(manner="slow", slow_seconds=0.3)
    began = time.monotonic()

    with api.stream("POST", "/v2/emails", json=mail()) as answer:
        pieces = list(answer.iter_raw())

    assert len(pieces) > 3
    assert time.monotonic() - began >= 0.29
    assert json.loads(b"".join(pieces))["data"]["status"] == "queued"


def test_latency_passes_before_anything_else(sandbox: Sandbox, api: httpx.Client) -> None:
    """And then the mail is accepted, whether or not the caller has waited."""
    sandbox.fault(latency_seconds=0.3, times=1)

    with pytest.raises(httpx.ReadTimeout):
        api.post("/v2/emails", json=mail(), timeout=0.1)

    assert sandbox.wait_for(1)[0]["accepted"] is True
    assert sandbox.emails()[0]["answer"]["fate"] == "gone"


# -- the connection


@contextmanager
def connection(sandbox: Sandbox) -> Iterator[socket.socket]:
    """A bare TCP connection."""
    with socket.create_connection(("127.0.0.1", sandbox.port), timeout=10) as wire:
        yield wire


def request_bytes(body: bytes = b"", *, length: int | None = None) -> bytes:
    """A request to send, in octets."""
    head = (
        "POST /v2/emails HTTP/1.1\r\nHost: sandbox\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {FULL_TOKEN}\r\n"
        f"Content-Length: {len(body) if length is None else length}\r\n\r\n"
    )
    return head.encode() + body


WHOLE = request_bytes(json.dumps(mail()).encode())


@pytest.mark.parametrize("accept", [False, True])
def test_a_reset_takes_the_place_of_the_answer(sandbox: Sandbox, *, accept: bool) -> None:
    """The peer sees ECONNRESET, with the mail accepted or not."""
    sandbox.fault(manner="reset", accept=accept)
    with connection(sandbox) as wire:
        wire.sendall(WHOLE)

        with pytest.raises(ConnectionResetError):
            wire.recv(1)

    assert len(sandbox.accepted()) == accept


def test_a_reset_can_come_before_the_body(sandbox: Sandbox) -> None:
    """When the header has arrived, although no octet of the body was sent."""
    sandbox.fault(manner="reset_headers")
    with connection(sandbox) as wire:
        wire.sendall(request_bytes(length=1000))

        with pytest.raises(ConnectionResetError):
            wire.recv(1)

    assert [each["answer"]["fate"] for each in sandbox.emails()] == ["reset_headers"]


def test_a_reset_can_come_in_the_body(sandbox: Sandbox) -> None:
    """After its first octets, not before."""
    sandbox.fault(manner="reset_body")
    with connection(sandbox) as wire:
        wire.sendall(request_bytes(length=1000))
        wire.settimeout(0.1)
        with pytest.raises(TimeoutError):
            wire.recv(1)
        wire.settimeout(10)
        wire.sendall(b"{")

        with pytest.raises(ConnectionResetError):
            wire.recv(1)


def test_a_reset_can_come_in_the_answer(sandbox: Sandbox, api: httpx.Client) -> None:
    """The mail was accepted."""
    sandbox.fault(manner="reset_midway")

    with pytest.raises(httpx.ReadError):
        api.post("/v2/emails", json=mail())

    assert len(sandbox.accepted()) == 1


def test_an_answer_can_end_in_the_middle(sandbox: Sandbox) -> None:
    """Closed in good order after half of the body."""
    sandbox.fault(manner="truncate")
    with connection(sandbox) as wire:
        wire.sendall(WHOLE)
        received = b"".join(iter(lambda: wire.recv(65536), b""))

    head, _, body = received.partition(b"\r\n\r\n")
    length = int(dict(line.split(b": ") for line in head.split(b"\r\n")[1:])[b"content-length"])
    assert (head[:12], len(body)) == (b"HTTP/1.1 201", length // 2)


def test_a_connection_can_be_closed_without_an_answer(sandbox: Sandbox) -> None:
    """End of file and no octet."""
    sandbox.fault(manner="close")
    with connection(sandbox) as wire:
        wire.sendall(WHOLE)

        assert wire.recv(1) == b""


def test_an_answer_may_never_come(sandbox: Sandbox, api: httpx.Client) -> None:
    """For as long as the caller waits; the connection stays open."""
    sandbox.fault(manner="hang", times=1)

    with pytest.raises(httpx.ReadTimeout):
        api.post("/v2/emails", json=mail(), timeout=0.2)

    assert sandbox.accepted() == []
    assert api.post("/v2/emails", json=mail()).status_code == 201


def test_a_new_beginning_frees_who_hangs(sandbox: Sandbox) -> None:
    """Otherwise one test would hold up the next."""
    sandbox.fault(manner="hang")
    with connection(sandbox) as wire:
        wire.sendall(WHOLE)
        sandbox.wait_for(1)
        sandbox.clear()

        assert wire.recv(1) == b""


def test_a_mail_of_an_earlier_run_does_not_arrive_in_the_next(
    sandbox: Sandbox, api: httpx.Client
) -> None:
    """What waited when the run ended belongs to that run."""
    sandbox.fault(latency_seconds=60)
    with pytest.raises(httpx.ReadTimeout):
        api.post("/v2/emails", json=mail(), timeout=0.2)
    sandbox.clear()

    answer = api.post("/v2/emails", json=mail(), headers={"authorization": f"Bearer {FULL_TOKEN}"})

    assert answer.status_code == 201
    assert len(sandbox.emails()) == 1


# -- logins and rates


def test_a_bearer_can_end_in_the_middle(sandbox: Sandbox, api: httpx.Client) -> None:
    """It worked before, and a new login works after."""
    sandbox.fault(revoke=True, skip=1, times=1)

    before = api.post("/v2/emails", json=mail()).status_code
    ended = api.post("/v2/emails", json=mail()).status_code
    after = api.post("/v2/emails", json=mail()).status_code
    renewed = api.post("/token", data={"username": USERNAME, "password": PASSWORD})

    assert (before, ended, after, renewed.status_code) == (201, 401, 401, 200)


def test_all_login_tokens_can_end_at_once(sandbox: Sandbox, api: httpx.Client) -> None:
    """Bearers always, refresh tokens on request; access tokens never."""
    grant = api.post("/token", data={"username": USERNAME, "password": PASSWORD}).json()
    renewal = {"grant_type": "refresh_token", "refresh_token": grant["refresh_token"]}

    ended = sandbox.expire_tokens(refresh_tokens=True)

    assert ended == 2
    assert api.post("/v2/emails", json=mail()).status_code == 401
    assert api.post("/token", data=renewal).status_code == 401
    access = {"authorization": f"Bearer {FULL_TOKEN}"}
    assert api.post("/v2/emails", json=mail(), headers=access).status_code == 201


@pytest.mark.parametrize(
    ("rule", "status", "text"),
    [
        ({"status": 500}, 500, '{"detail": [{"msg": "Internal Server Error"}]}'),
        ({"status": 429}, 429, '{"detail": "Too Many Requests"}'),
        ({"status": 200, "body": {"challenge": "mfa"}}, 200, '{"challenge": "mfa"}'),
        ({"status": 401, "body": {"challenge": "mfa"}}, 401, '{"challenge": "mfa"}'),
        ({"status": 200, "body": "<html>login</html>"}, 200, "<html>login</html>"),
    ],
)
def test_the_token_endpoint_can_misbehave_for_one_user(
    sandbox: Sandbox, anonymous: httpx.Client, rule: dict[str, Any], status: int, text: str
) -> None:
    """And serves all others."""
    sandbox.fault(path="/token", username="demo@*", **rule)
    other = {"username": "other@example.net", "password": PASSWORD}

    hit = anonymous.post("/token", data={"username": USERNAME, "password": PASSWORD})
    spared = anonymous.post("/token", data=other)

    assert (hit.status_code, hit.text) == (status, text)
    assert spared.json()["accounts"] == [1005]


@pytest.mark.parametrize("form", ["seconds", "date", "absent"])
def test_a_rate_limit_refuses_what_is_over_it(
    sandbox: Sandbox, api: httpx.Client, form: str
) -> None:
    """The burst passes, the next call is told when to come back."""
    sandbox.behave(rate_per_second=0.5, rate_burst=2, retry_after=form)

    answers = [api.post("/v2/emails", json=mail()) for _ in range(3)]

    assert [each.status_code for each in answers] == [201, 201, 429]
    after = answers[2].headers.get("retry-after")
    now = parsedate_to_datetime(answers[2].headers["date"])
    if form == "seconds":
        assert after == "2"
    elif form == "date":
        assert 0 <= (parsedate_to_datetime(after) - now).total_seconds() <= 3
    else:
        assert after is None
