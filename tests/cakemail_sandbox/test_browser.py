"""The inbox in a real browser, with a mail that tries everything.

A trap listens on loopback, and the mail points all it can at it: had anything of the mail run or
been loaded, the trap would have seen a connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from playwright.async_api import Page, Request, async_playwright

from tests.cakemail_sandbox.mails import attachment, content, mail
from tests.support.sandbox import FULL_TOKEN, Sandbox
from tests.support.tools import tool

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

HOSTILE_HTML = """
<p id="greeting" style="color: rgb(200, 0, 0)">Dear Bob, this is readable.</p>
<script>parent.document.title = 'owned'; document.title = 'owned'; fetch('{trap}/fetch')</script>
<script src="{trap}/script.js"></script>
<img src="{trap}/pixel.gif" onerror="parent.document.title = 'owned'" srcset="{trap}/x.png 2x">
<img src="data:image/gif;base64,R0lGODlhAQABAAAAACw=" onload="parent.document.title = 'owned'">
<svg onload="parent.document.title = 'owned'"><image href="{trap}/svg.png"/></svg>
<link rel="stylesheet" href="{trap}/style.css">
<link rel="preload" as="image" href="{trap}/preload.png">
<link rel="prefetch" href="{trap}/prefetch.html">
<link rel="preconnect" href="{trap}">
<link rel="dns-prefetch" href="{trap}">
<link rel="icon" href="{trap}/icon.ico">
<style>@import url('{trap}/import.css'); body {{ background: url('{trap}/background.png') }}
@font-face {{ font-family: f; src: url('{trap}/font.woff') }} p {{ font-family: f }}</style>
<meta http-equiv="refresh" content="0;url={trap}/refresh">
<base href="{trap}/base/">
<iframe src="{trap}/frame.html"></iframe>
<IFRAME srcdoc="&lt;link rel=preconnect href={trap}&gt;&lt;img src={trap}/inner.png&gt;"></IFRAME>
<object data="{trap}/object.swf"></object><embed src="{trap}/embed.swf">
<video src="{trap}/film.mp4" poster="{trap}/poster.png" autoplay></video>
<audio src="{trap}/sound.mp3" autoplay></audio>
<form id="form" action="{trap}/form" method="post"><button id="submit">Pay now</button></form>
<p><a id="script-link" href="javascript:parent.document.title='owned'">click</a></p>
<p><a id="plain-link" href="{trap}/link" ping="{trap}/ping">click</a></p>
<svg><a href="{trap}/vector"><text y="20" id="vector-link">click</text></a></svg>
<p><a
id="split-link" href="{trap}/split">click</a> <a/id=slash-link href="{trap}/slash">click</a></p>
<p><a id="top-link" href="{trap}/top" target="_top">click</a></p>
<p><a id="blank-link" href="{trap}/blank" target="_blank">click</a></p>
"""
HOSTILE_TEXT = (
    "<script>document.title = 'owned'</script><img src=x onerror=\"document.title='owned'\">"
)
LINKS = (
    "script-link",
    "plain-link",
    "split-link",
    "slash-link",
    "top-link",
    "blank-link",
    "submit",
)


class Trap:
    """Counts the connections that reach it."""

    def __init__(self) -> None:
        self.seen: list[bytes] = []
        self.url = ""

    async def caught(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.seen.append(b"connected")
        self.seen.append(await reader.read(200))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()


@pytest.fixture
async def trap() -> AsyncIterator[Trap]:
    """A listener that nothing may reach."""
    caught = Trap()
    server = await asyncio.start_server(caught.caught, "127.0.0.1", 0)
    caught.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield caught


@asynccontextmanager
async def browser_page() -> AsyncIterator[Page]:
    """An empty page of a new browser."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=tool("chromium"), headless=True, args=ARGUMENTS
        )
        try:
            yield await browser.new_page()
        finally:
            await browser.close()


async def deliver(sandbox: Sandbox, trap: Trap) -> int:
    """Send the hostile mail; its number."""
    body = mail(
        sender={"id": "31", "name": HOSTILE_TEXT},
        content=content(
            subject=HOSTILE_TEXT, text=HOSTILE_TEXT, html=HOSTILE_HTML.format(trap=trap.url)
        ),
        attachment=[attachment(filename=HOSTILE_TEXT), attachment()],
    )
    headers = {"authorization": f"Bearer {FULL_TOKEN}"}
    async with httpx.AsyncClient(base_url=sandbox.url, headers=headers) as client:
        await client.post("/v2/emails", json=body)
    return int((await sandbox.arrived(1))[0]["number"])


@pytest.mark.timeout(120)
async def test_nothing_of_a_mail_runs_or_loads_in_a_browser(sandbox: Sandbox, trap: Trap) -> None:
    """It is readable, and all its tricks are dead: list, mail, and after a click on each link."""
    number = await deliver(sandbox, trap)
    asked: list[str] = []

    def note(request: Request) -> None:
        asked.append(request.url)

    async with browser_page() as page:
        page.on("request", note)
        await page.goto(f"{sandbox.url}/?refresh=off")
        list_title = await page.title()
        await page.click(".subject a")
        await page.wait_for_load_state("networkidle")
        frame = page.frame_locator("iframe")
        greeting = await frame.locator("#greeting").text_content()
        colour = await frame.locator("#greeting").evaluate("it => getComputedStyle(it).color")
        for link in LINKS:
            await page.goto(f"{sandbox.url}/inbox/{number}")
            await page.frame_locator("iframe").locator(f"#{link}").click()
            await page.wait_for_load_state("networkidle")
        mail_title = await page.title()
        heading = await page.locator("h1").text_content()
        pages = len(page.context.pages)

    own = {url for url in asked if url.startswith(sandbox.url)}
    assert (list_title, mail_title) == (
        "Inbox · Cakemail sandbox",
        f"{HOSTILE_TEXT} · Cakemail sandbox",
    )
    assert greeting == "Dear Bob, this is readable."
    assert colour == "rgb(200, 0, 0)"
    assert heading == HOSTILE_TEXT
    assert own == {f"{sandbox.url}/?refresh=off", f"{sandbox.url}/inbox/{number}"}
    assert trap.seen == []
    assert pages == 1


@pytest.mark.timeout(120)
async def test_the_trap_would_have_caught_it(sandbox: Sandbox, trap: Trap) -> None:
    """The same mail shown without protection runs and loads: so the test above can fail."""
    del sandbox
    async with browser_page() as page:
        await page.set_content(HOSTILE_HTML.format(trap=trap.url), wait_until="commit")
        await page.wait_for_url("**/refresh")

    assert len(trap.seen) > 5


@pytest.mark.timeout(120)
async def test_a_new_mail_appears_by_itself(sandbox: Sandbox, trap: Trap) -> None:
    """Without a script and without a hand."""
    async with browser_page() as page:
        await page.goto(sandbox.url)
        await deliver(sandbox, trap)
        await page.wait_for_selector(".subject a", timeout=15_000)

        rows = await page.locator("tbody tr").count()

    assert rows == 1


@pytest.mark.timeout(120)
async def test_a_file_is_saved_and_the_inbox_cleared(sandbox: Sandbox, trap: Trap) -> None:
    """By link and by button."""
    number = await deliver(sandbox, trap)
    async with browser_page() as page:
        await page.goto(f"{sandbox.url}/inbox/{number}")
        async with page.expect_download() as saving:
            await page.get_by_role("link", name="invoice.pdf", exact=True).click()
        download = await saving.value
        name = download.suggested_filename
        await page.goto(f"{sandbox.url}/?refresh=off")
        await page.get_by_role("button", name="Clear all").click()
        await page.wait_for_selector(".empty")

    assert name == "invoice.pdf"
    assert sandbox.emails() == []
