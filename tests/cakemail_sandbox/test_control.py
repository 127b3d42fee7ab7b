"""The control API over a real socket."""

from __future__ import annotations

import threading
from typing import Any

import httpx
import pytest

from tests.cakemail_sandbox.mails import MESSAGE_ID, attachment, content, mail
from tests.support.sandbox import FULL_TOKEN, Sandbox


def test_a_request_is_shown_as_it_came_with_its_answer(sandbox: Sandbox, api: httpx.Client) -> None:
    """Body, query, header fields, caller, fate."""
    body = mail(tags=["a"], attachment=[attachment()], without_list_management=True)
    api.post("/v2/emails?account_id=1001", json=body, headers={"user-agent": "me/1"})

    (shown,) = api.get("/sandbox/emails").json()

    assert shown == sandbox.emails()[0]
    assert (shown["body"], shown["query"]) == (body, "account_id=1001")
    assert (shown["recipient"], shown["message_id"]) == ("bob@example.org", MESSAGE_ID)
    assert (shown["login"], shown["account_id"], shown["accepted"]) == (
        "demo@example.com", 1001, True,
    )  # fmt: skip
    assert shown["headers"]["user-agent"] == "me/1"
    assert shown["undocumented"] == ["without_list_management"]
    assert (shown["answer"]["status"], shown["answer"]["fate"]) == (201, "complete")
    assert shown["answer"]["body"]["data"]["id"] == shown["email_id"]


def test_no_credential_is_shown(api: httpx.Client) -> None:
    """A bearer is worth a password."""
    api.post("/v2/emails", json=mail(), headers={"authorization": f"Bearer {FULL_TOKEN}"})

    assert FULL_TOKEN not in api.get("/sandbox/requests").text
    assert "authorization" not in api.get("/sandbox/emails").json()[0]["headers"]


def test_a_body_that_is_no_json_is_shown_as_it_is(api: httpx.Client) -> None:
    """Octet by octet."""
    api.post("/v2/emails", content=b"{\xff", headers={"content-type": "application/json"})

    (shown,) = api.get("/sandbox/emails").json()
    assert (shown["body"], shown["raw_body"]) == (None, "{ÿ")


def test_half_a_surrogate_pair_is_shown(api: httpx.Client) -> None:
    """It has no UTF-8, and a mail may hold it all the same."""
    body = b'{"email": "\\ud800@x.test", "content": {"subject": "\\ud83d"}}'
    api.post("/v2/emails", content=body, headers={"content-type": "application/json"})

    assert api.get("/sandbox/emails").json()[0]["recipient"] == "\ud800@x.test"
    assert api.get("/sandbox/counts").json()[0]["recipient"] == "\ud800@x.test"


def test_waiting_ends_when_enough_have_come(sandbox: Sandbox, api: httpx.Client) -> None:
    """The waiter is answered by the second mail, long before its time is up."""
    found: list[Any] = []

    def wait() -> None:
        with httpx.Client(base_url=sandbox.url, timeout=40) as client:
            found.extend(client.get("/sandbox/emails?count=2&wait=30&after=0").json())

    waiter = threading.Thread(target=wait)
    waiter.start()
    for recipient in ("bob@example.org", "carol@example.org"):
        api.post("/v2/emails", json=mail(recipient))
    waiter.join(20)

    assert [each["recipient"] for each in found] == ["bob@example.org", "carol@example.org"]


def test_waiting_ends_when_its_time_is_up(api: httpx.Client) -> None:
    """With what there is."""
    assert api.get("/sandbox/emails?count=1&wait=0.05").json() == []


def test_only_what_came_after_a_number_is_given(api: httpx.Client) -> None:
    """So a reader goes on where it stopped."""
    for _ in range(2):
        api.post("/v2/emails", json=mail())
    first, second = api.get("/sandbox/emails").json()

    later = api.get(f"/sandbox/emails?after={first['number']}").json()

    assert [each["number"] for each in later] == [second["number"]]


def test_counts_tell_a_mail_that_came_twice(sandbox: Sandbox, api: httpx.Client) -> None:
    """Received and accepted apart."""
    sandbox.fault(status=503, times=1)
    for _ in range(3):
        api.post("/v2/emails", json=mail())

    assert api.get("/sandbox/counts").json() == [
        {
            "message_id": MESSAGE_ID,
            "recipient": "bob@example.org",
            "received": 3,
            "accepted": 2,
        }
    ]


def test_connections_tell_a_client_that_opens_one_for_each_mail(
    sandbox: Sandbox, api: httpx.Client
) -> None:
    """A client that keeps its connection shows as one."""
    for _ in range(3):
        api.post("/v2/emails", json=mail())
    kept = sandbox.connections()
    for _ in range(2):
        httpx.post(f"{sandbox.url}/v2/emails", json=mail(), headers=api.headers)

    assert (kept["total"], kept["most"]) == (1, 1)
    assert (api.get("/sandbox/connections").json()["total"], kept["open"]) == (3, 1)


def test_clearing_forgets_mails_and_keeps_the_rest(sandbox: Sandbox, api: httpx.Client) -> None:
    """Logins and faults go on."""
    sandbox.fault(status=503, skip=1)
    api.post("/v2/emails", json=mail())

    assert api.delete("/sandbox/emails").status_code == 204
    assert sandbox.emails() == []
    assert api.post("/v2/emails", json=mail()).status_code == 503


def test_a_reset_begins_anew(sandbox: Sandbox, api: httpx.Client) -> None:
    """No mails, no faults, default switches, no tokens."""
    sandbox.fault(status=503)
    sandbox.behave(list_required=True)
    api.post("/v2/emails", json=mail())

    assert api.post("/sandbox/reset").status_code == 204
    assert sandbox.requests() == []
    assert api.get("/sandbox/faults").json() == []
    assert api.get("/sandbox/behaviour").json()["list_required"] is False
    assert api.post("/v2/emails", json=mail()).status_code == 401


def test_faults_are_set_listed_and_removed(api: httpx.Client) -> None:
    """As rules with their counts."""
    rules: list[dict[str, Any]] = [
        {"recipient": "bob@*", "status": 503, "times": 1},
        {"status": 429},
    ]
    api.put("/sandbox/faults", json=rules)
    api.post("/v2/emails", json=mail())
    api.post("/sandbox/faults", json={"outcome": "error"})

    listed = api.get("/sandbox/faults").json()
    api.delete("/sandbox/faults")

    assert listed == [
        rules[0] | {"seen": 1, "used": 1},
        {"status": 429, "seen": 0, "used": 0},
        {"outcome": "error", "seen": 0, "used": 0},
    ]
    assert api.get("/sandbox/faults").json() == []


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "/sandbox/faults", [{"status": 1}]),
        ("POST", "/sandbox/faults", {"manner": "reset_headers", "recipient": "*"}),
        ("PATCH", "/sandbox/behaviour", {"list_requird": True}),
        ("PATCH", "/sandbox/behaviour", {"expires_in_seconds": 0}),
    ],
)
def test_a_command_that_means_nothing_is_refused(
    api: httpx.Client, method: str, path: str, body: Any
) -> None:
    """A misspelt fault that does nothing would make a test prove nothing."""
    assert api.request(method, path, json=body).status_code == 422


def test_switches_are_turned_one_by_one(api: httpx.Client) -> None:
    """Those not named stay."""
    api.patch("/sandbox/behaviour", json={"list_required": True})
    turned = api.patch("/sandbox/behaviour", json={"bodies": "one_400"}).json()

    assert (turned["list_required"], turned["bodies"]) == (True, "one_400")
    refused = api.post("/v2/emails", json=mail(content=content(text="x", html="x")))
    assert refused.status_code == 400


def test_login_tokens_can_be_ended(api: httpx.Client) -> None:
    """And the answer says how many there were."""
    assert api.delete("/sandbox/tokens?refresh=true").json() == {"ended": 1}
    assert api.get("/lists").status_code == 401


def test_the_contract_can_be_read(api: httpx.Client) -> None:
    """At the place where the service has its own."""
    assert "/v2/emails" in api.get("/openapi.json").json()["paths"]


def test_the_undocumented_facts_can_be_read(api: httpx.Client) -> None:
    """Each with its switch."""
    facts = api.get("/sandbox/deviations").json()

    assert {"fact", "switch", "source"} == set(facts[0])
    assert "429 and Retry-After" in {each["fact"] for each in facts}


async def test_tests_in_a_loop_can_wait_too(sandbox: Sandbox) -> None:
    """Without blocking it."""
    async with httpx.AsyncClient(
        base_url=sandbox.url, headers={"authorization": f"Bearer {FULL_TOKEN}"}
    ) as client:
        await client.post("/v2/emails", json=mail())

    (arrived,) = await sandbox.arrived(1)
    assert arrived["recipient"] == "bob@example.org"
    with pytest.raises(TimeoutError, match="1 of 2"):
        await sandbox.arrived(2, seconds=0.01)
