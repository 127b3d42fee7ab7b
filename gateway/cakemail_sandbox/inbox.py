"""The inbox: what a person sees at the sandbox's address."""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from cakemail_sandbox.capture import Exchange
from cakemail_sandbox.control import house_of
from cakemail_sandbox.letters import letter_of
from cakemail_sandbox.pages import PAGE_POLICY, listing, missing, single

router = APIRouter()
SHOWN: Final = 200

_PAGE_HEADERS: Final = {
    "Content-Security-Policy": PAGE_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-DNS-Prefetch-Control": "off",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
# A file is never shown, only saved, and never taken for something else than octets.
_FILE_HEADERS: Final = {**_PAGE_HEADERS, "Content-Security-Policy": "default-src 'none'; sandbox"}


@router.get("/")
async def inbox(request: Request, refresh: str = "on") -> Response:
    """The newest mails."""
    house = house_of(request)
    mails = [each for each in house.world.capture.newest_first() if each.is_mail][:SHOWN]
    letters = [letter_of(each, house.world.seed) for each in mails]
    return _html(listing(letters, refresh=refresh != "off"))


@router.get("/inbox/{number}")
async def mail(request: Request, number: int) -> Response:
    """One mail."""
    found = _found(request, number)
    if found is None:
        return _html(missing(), 404)
    return _html(single(letter_of(found, house_of(request).world.seed)))


@router.get("/inbox/{number}/files/{index}")
async def file(request: Request, number: int, index: int) -> Response:
    """One attachment, to be saved."""
    found = _found(request, number)
    files = letter_of(found, house_of(request).world.seed).files if found else ()
    if not 0 <= index < len(files):
        return _html(missing(), 404)
    return _saved(files[index].octets, files[index].safe_name)


@router.get("/inbox/{number}/request.json")
async def body(request: Request, number: int) -> Response:
    """The body of the request, octet by octet."""
    found = _found(request, number)
    return _html(missing(), 404) if found is None else _saved(found.body, f"request-{number}.json")


@router.post("/inbox/clear")
async def clear(request: Request) -> Response:
    """Forget what arrived; asked for by the page itself, not by a page of somebody else."""
    # https://www.w3.org/TR/fetch-metadata/ : sent by every present browser.
    if request.headers.get("sec-fetch-site", "same-origin") != "same-origin":
        return _html(missing(), 403)
    house_of(request).world.capture.clear()
    return RedirectResponse("/", status_code=303, headers=_PAGE_HEADERS)


def _found(request: Request, number: int) -> Exchange | None:
    found = house_of(request).world.capture.find(number)
    return found if found is not None and found.is_mail else None


def _html(text: str, status: int = 200) -> Response:
    # Half a surrogate pair has no UTF-8; it shows as a question mark.
    return HTMLResponse(text.encode("utf-8", "replace"), status, dict(_PAGE_HEADERS))


def _saved(octets: bytes, name: str) -> Response:
    headers: dict[str, Any] = {
        **_FILE_HEADERS,
        "Content-Disposition": f'attachment; filename="{name}"',
    }
    return Response(octets, 200, headers, "application/octet-stream")
