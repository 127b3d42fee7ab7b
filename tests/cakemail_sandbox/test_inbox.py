"""The inbox as octets: what is sent to a browser, before any browser judges it."""

from __future__ import annotations

import html
import re
from typing import Any

import httpx
import pytest

from tests.cakemail_sandbox.mails import attachment, content, mail
from tests.support.sandbox import FULL_TOKEN, Sandbox

HOSTILE = "</title><script>alert(1)</script><img src=x onerror=alert(1)>\"'&"


def send(api: httpx.Client, **changes: Any) -> int:
    """Send a mail; its number."""
    api.post("/v2/emails", json=mail(**changes))
    return int(api.get("/sandbox/emails").json()[-1]["number"])


def test_an_empty_inbox_says_so(anonymous: httpx.Client) -> None:
    """And refreshes by itself."""
    page = anonymous.get("/")

    assert page.status_code == 200
    assert "Nothing has arrived yet" in page.text
    assert '<meta http-equiv="refresh"' in page.text


def test_refreshing_can_be_paused(anonymous: httpx.Client) -> None:
    """A page that moves under a reader's eyes must be stoppable (WCAG 2.2.2)."""
    page = anonymous.get("/?refresh=off")

    assert '<meta http-equiv="refresh"' not in page.text
    assert '<a href="/">resume refreshing</a>' in page.text


def test_the_newest_mail_is_first(api: httpx.Client) -> None:
    """With sender, recipient, subject and outcome."""
    send(api, content=content(text="x", subject="First"))
    send(api, content=content(text="x", subject="Second"), email="sandbox-503@example.org")

    rows = re.findall(r"<tr>.*?</tr>", anonymous_text(api, "/"))[1:]

    assert ["Second" in each for each in rows] == [True, False]
    assert "not accepted · 503" in rows[0]
    assert "accepted · 201" in rows[1]
    assert "demo@example.com" in rows[1]


def anonymous_text(client: httpx.Client, path: str) -> str:
    """A page."""
    return client.get(path).text


@pytest.mark.parametrize("page", ["/", "/inbox/{number}"])
def test_nothing_of_a_mail_becomes_markup(api: httpx.Client, page: str) -> None:
    """Subject, names, addresses, tags, file names: all escaped."""
    number = send(
        api,
        email=HOSTILE,
        sender={"id": HOSTILE, "name": HOSTILE},
        content=content(text=HOSTILE, subject=HOSTILE, html=HOSTILE),
        tags=[HOSTILE],
        attachment=[attachment(filename=HOSTILE, type=HOSTILE)],
    )

    text = anonymous_text(api, page.format(number=number))

    assert "<script" not in text
    assert "<img" not in text
    assert html.escape(HOSTILE) in text


def test_pages_let_nothing_be_loaded(api: httpx.Client) -> None:
    """Also inside the frame, which inherits the policy and holds it once more."""
    number = send(api, content=content(html="<p>Hello</p>"))

    page = api.get(f"/inbox/{number}")

    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:;")
    assert "script" not in policy
    assert page.headers["x-content-type-options"] == "nosniff"
    assert page.headers["x-dns-prefetch-control"] == "off"
    frame = re.search(r"<iframe [^>]*>", page.text)
    assert frame is not None
    assert 'sandbox=""' in frame.group()
    assert "default-src &#x27;none&#x27;" in frame.group()


def test_an_attachment_is_saved_and_never_shown(api: httpx.Client) -> None:
    """As octets, under a name without surprises."""
    number = send(api, attachment=[attachment()])

    saved = api.get(f"/inbox/{number}/files/0")

    assert saved.content == b"%PDF-1.4\n"
    assert saved.headers["content-type"] == "application/octet-stream"
    assert saved.headers["content-disposition"] == 'attachment; filename="invoice.pdf"'
    assert saved.headers["content-security-policy"] == "default-src 'none'; sandbox"
    assert saved.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("name", "saved_as"),
    [
        ("../../etc/passwd", "_.._etc_passwd"),
        ('a";\r\nSet-Cookie: x=1', "a____Set-Cookie__x_1"),
        ("...", "attachment"),
        ("", "attachment"),
        ("факс.pdf", "____.pdf"),
    ],
)
def test_a_hostile_file_name_is_made_harmless(api: httpx.Client, name: str, saved_as: str) -> None:
    """A refused request shows too, so any name may come."""
    number = send(api, attachment=[attachment(filename=name, content="not base64!")])

    saved = api.get(f"/inbox/{number}/files/0")

    assert saved.headers["content-disposition"] == f'attachment; filename="{saved_as}"'
    assert (saved.content, "set-cookie" in saved.headers) == (b"", False)


def test_the_whole_request_can_be_saved(api: httpx.Client) -> None:
    """Octet by octet, where the page shows long texts cut."""
    long = "x" * 5000
    number = send(api, content=content(text=long))

    page = anonymous_text(api, f"/inbox/{number}")
    saved = api.get(f"/inbox/{number}/request.json")

    assert "(5,000 characters)" in page
    assert saved.json()["content"]["text"] == long
    assert "attachment" in saved.headers["content-disposition"]


@pytest.mark.parametrize(
    "body",
    [
        b"no json",
        b"[1, 2]",
        b'{"content": "text", "sender": 5, "attachment": "x", "email": ["a"]}',
        b'{"content": {"subject": "\\ud800", "html": "\\ud800"}, "attachment": [null, 4]}',
        b"[" * 100_000,
        b"\xff\xfe\x00",
    ],
)
def test_any_request_can_be_shown(api: httpx.Client, body: bytes) -> None:
    """A page for the unusual, which is what a person comes to look at."""
    api.post("/v2/emails", content=body, headers={"content-type": "application/json"})
    number = api.get("/sandbox/emails").json()[-1]["number"]

    assert api.get("/").status_code == 200
    assert api.get(f"/inbox/{number}").status_code == 200


@pytest.mark.parametrize(
    "path", ["/inbox/999999", "/inbox/999999/files/0", "/inbox/999999/request.json"]
)
def test_a_mail_that_is_not_there_is_not_found(anonymous: httpx.Client, path: str) -> None:
    """404 with a way back."""
    page = anonymous.get(path)

    assert page.status_code == 404
    assert '<a href="/">Inbox</a>' in page.text


def test_a_login_is_no_mail(sandbox: Sandbox, api: httpx.Client) -> None:
    """Its page does not exist."""
    number = sandbox.requests("/token")[0]["number"]

    assert api.get(f"/inbox/{number}").status_code == 404


def test_a_mail_without_an_answer_yet_says_so(sandbox: Sandbox, api: httpx.Client) -> None:
    """While the API takes its time."""
    sandbox.fault(latency_seconds=60)
    with pytest.raises(httpx.ReadTimeout):
        api.post("/v2/emails", json=mail(), timeout=0.2)

    assert "not answered yet" in anonymous_text(api, "/")


@pytest.mark.parametrize(("site", "left"), [("same-origin", 0), (None, 0), ("cross-site", 1)])
def test_the_inbox_is_cleared_by_its_own_button_only(
    sandbox: Sandbox, api: httpx.Client, site: str | None, left: int
) -> None:
    """Another site's form does not reach it."""
    send(api)

    api.post("/inbox/clear", headers={"sec-fetch-site": site} if site else {})

    assert len(sandbox.emails()) == left


def test_the_login_survives_a_clearing(api: httpx.Client) -> None:
    """Who clears the inbox does not want the next mail refused."""
    send(api)
    api.post("/inbox/clear")

    assert api.post("/v2/emails", json=mail()).status_code == 201


def test_a_sender_is_named_by_what_the_account_knows(api: httpx.Client) -> None:
    """The request holds only an id."""
    api.headers["authorization"] = f"Bearer {FULL_TOKEN}"
    number = send(api, sender={"id": "32"})

    text = anonymous_text(api, f"/inbox/{number}")

    assert 'Example News <span class="address">news@example.com</span>' in text
