"""Senders, lists and accounts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Response

from cakemail_sandbox.answers import Refusal, as_json, bad_request
from cakemail_sandbox.calls import Call, acting, authorised, response
from cakemail_sandbox.seed import Account, MailingList, Sender

router = APIRouter()
T = TypeVar("T")
SortKeys = dict[str, Callable[[Any], Any]]

_SENDER_KEYS: SortKeys = {
    "name": lambda each: each.name.casefold(),
    "email": lambda each: each.email.casefold(),
    "confirmed": lambda each: each.confirmed,
}
_LIST_KEYS: SortKeys = {
    "name": lambda each: each.name.casefold(),
    "created_on": lambda each: each.created_on,
}


@router.get("/brands/default/senders")
async def list_senders(
    call: Annotated[Call, Depends(authorised("/brands/default/senders", "sender:read"))],
) -> Response:
    """One page of the account's senders."""
    senders = ordered(call.account.senders, call.query["sort"], _SENDER_KEYS)
    rows, pagination = one_page(senders, call.query)
    data = [_sender(each) for each in rows]
    return response(as_json(200, {"pagination": pagination, "data": data}))


@router.get("/brands/default/senders/{sender_id}")
async def show_sender(
    call: Annotated[
        Call, Depends(authorised("/brands/default/senders/{sender_id}", "sender:read"))
    ],
) -> Response:
    """One sender by its id."""
    wanted = call.path["sender_id"]
    found = next((each for each in call.account.senders if each.id == wanted), None)
    if found is None:
        raise Refusal(bad_request("Sender not found"))
    return response(as_json(200, {"data": _sender(found)}))


@router.get("/lists")
async def list_lists(
    call: Annotated[Call, Depends(authorised("/lists", "list:read"))],
) -> Response:
    """One page of the account's lists."""
    kept = _filtered(call.account.lists, call.query["filter"])
    rows, pagination = one_page(ordered(kept, call.query["sort"], _LIST_KEYS), call.query)
    data = [_list_summary(each, call.account) for each in rows]
    return response(as_json(200, {"pagination": pagination, "data": data}))


@router.get("/lists/{list_id}")
async def show_list(
    call: Annotated[Call, Depends(authorised("/lists/{list_id}", "list:read"))],
) -> Response:
    """One list by its number."""
    found = next((each for each in call.account.lists if each.id == call.path["list_id"]), None)
    if found is None:
        raise Refusal(bad_request("List not found"))
    data = _list_summary(found, call.account) | {
        "policy_accepted": found.policy_accepted,
        "redirections": {},
        "pages": {},
        "webhook": {},
    }
    return response(as_json(200, {"data": data}))


@router.get("/accounts/self")
async def show_own_account(
    call: Annotated[Call, Depends(authorised("/accounts/self", "account:read"))],
) -> Response:
    """The login's own account."""
    return response(as_json(200, {"data": _account(call)}))


@router.get("/accounts/{account_id}")
async def show_account(
    call: Annotated[Call, Depends(authorised("/accounts/{account_id}", "account:read"))],
) -> Response:
    """An account that the login can reach."""
    text = call.path["account_id"]
    number = int(text) if text.isascii() and text.isdigit() else 0
    account = acting(call.world, call.login, number)
    call.exchange.account_id = account.id
    return response(as_json(200, {"data": _account(call, account)}))


def ordered(rows: Sequence[T], sort: str | None, keys: SortKeys) -> list[T]:
    """Sorted by ``[-|+]term``; a ``+`` that was not encoded arrives as a space.

    Raises:
        Refusal: the term is unknown.
    """
    if sort is None:
        return list(rows)
    term = sort.lstrip("+- ")
    if term not in keys:
        raise Refusal(bad_request("Invalid sort term"))
    return sorted(rows, key=keys[term], reverse=sort.startswith("-"))


def one_page(rows: Sequence[T], query: dict[str, Any]) -> tuple[Sequence[T], dict[str, Any]]:
    """The rows of one page, and what the answer says about it."""
    number, size = query["page"], query["per_page"]
    pagination = {"page": number, "per_page": size}
    if query["with_count"]:
        pagination["count"] = len(rows)
    return rows[(number - 1) * size : number * size], pagination


def _filtered(lists: Sequence[MailingList], text: str | None) -> list[MailingList]:
    kept = list(lists)
    for condition in (text or "").split(";") if text else ():
        term, operator, value = condition.partition("==")
        if term not in {"status", "name"} or not operator:
            raise Refusal(bad_request("Invalid filter"))
        kept = [each for each in kept if getattr(each, term) == value]
    return kept


def _sender(sender: Sender) -> dict[str, Any]:
    return {
        "id": sender.id,
        "name": sender.name,
        "email": sender.email,
        "confirmed": sender.confirmed,
        "language": "en_US",
    }


def _list_summary(found: MailingList, account: Account) -> dict[str, Any]:
    sender = account.senders[0] if account.senders else None
    return {
        "id": found.id,
        "name": found.name,
        "status": found.status,
        "language": "en_US",
        "created_on": found.created_on,
        "default_sender": {"name": sender.name, "email": sender.email} if sender else {},
    }


def _account(call: Call, account: Account | None = None) -> dict[str, Any]:
    shown = account or call.account
    remaining = shown.remaining
    if remaining is not None:
        remaining = max(0, remaining - call.world.sent_by_account[shown.id])
    limits: dict[str, Any] = {"use_email_api": shown.use_email_api}
    if remaining is not None:
        limits["remaining"] = remaining
    return {
        "id": str(shown.id),
        "lineage": shown.lineage,
        "status": shown.status,
        "name": shown.name,
        "address": {},
        "account_owner": {},
        "logo": "",
        "usage_limits": limits,
        "last_activity_on": int(call.world.now()),
        "created_on": 1_500_000_000,
        "partner": False,
        "organization": False,
        "overrides": {
            "bypass_recaptcha": False,
            "inject_address": False,
            "inject_unsubscribe_link": False,
        },
    }
