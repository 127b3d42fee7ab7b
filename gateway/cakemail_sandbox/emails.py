"""``POST /v2/emails``, the look-up of a mail, and the log of mails."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Callable
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Request, Response

from cakemail_sandbox.answers import (
    Answer,
    Refusal,
    as_json,
    bad_request,
    forbidden,
    invalid,
    unacceptable,
)
from cakemail_sandbox.calls import Call, authorised, response
from cakemail_sandbox.capture import SEND_PATH
from cakemail_sandbox.contract import Unacceptable, published
from cakemail_sandbox.front import LARGE_BYTES
from cakemail_sandbox.lookups import SortKeys, one_page, ordered
from cakemail_sandbox.seed import MailingList, Sender
from cakemail_sandbox.world import StoredMail

router = APIRouter()
Mail = dict[str, Any]
_MISSING: Final = "value_error.missing"
_STOPPED: Final = frozenset({"suspended", "suspended_by_partner", "deleted"})


@router.post(SEND_PATH)
async def submit(
    request: Request,
    call: Annotated[Call, Depends(authorised(SEND_PATH, "emailapi:send", "POST"))],
) -> Response:
    """Take one mail for one recipient."""
    body = await request.body()
    mail = await _in_place(_checked, request.headers.get("content-type", ""), body)
    for check in _CHECKS:
        refused = check(call, mail)
        if refused is not None:
            raise Refusal(refused)
    outcome = call.exchange.outcome or _outcome(call, mail)
    call.exchange.outcome = outcome
    stored = _stored(call, mail, outcome)
    if outcome == "queued":
        call.world.capture.accept(call.exchange)
        call.world.sent_by_account[call.account.id] += 1
    data = {"id": stored.id, "status": outcome}
    answer = {"email": mail["email"], "object": "email", "submitted": True, "data": data}
    return response(as_json(201, answer))


@router.get("/v2/emails/{email_id}")
async def show(
    call: Annotated[Call, Depends(authorised("/v2/emails/{email_id}", "emailapi:read"))],
) -> Response:
    """One mail by its id."""
    stored = call.world.mails.get(str(uuid.UUID(call.path["email_id"])))
    if stored is None or stored.account.id != call.account.id:
        raise Refusal(bad_request("Email not found"))
    return response(as_json(200, _full(stored)))


@router.get("/logs/emails-summary")
async def summary(
    call: Annotated[Call, Depends(authorised("/logs/emails-summary", "emailapi:read"))],
) -> Response:
    """One row a mail, newest first."""
    rows = ordered(_logged(call), call.query["sort"], _LOG_KEYS)
    shown, pagination = one_page(rows, {**call.query, "with_count": False})
    last = pagination["page"] * pagination["per_page"] >= len(rows)
    times = {name: call.query[name] for name in ("start_time", "end_time") if call.query[name]}
    value = {
        "pagination": pagination | {"has_more": not last},
        "parameters": times,
        "data": [_row(each) for each in shown],
    }
    return response(as_json(200, value))


async def _in_place(work: Callable[[str, bytes], Mail], kind: str, body: bytes) -> Mail:
    """Here, or in a thread when the body is so large that others would wait."""
    if len(body) > LARGE_BYTES:
        return await asyncio.to_thread(work, kind, body)
    return work(kind, body)


def _checked(media_type: str, body: bytes) -> Mail:
    if media_type.partition(";")[0].strip().lower() != "application/json":
        raise Refusal(invalid(["body"], "value is not a valid dict", "type_error.dict"))
    try:
        value = json.loads(body, parse_constant=_no_number)
    except json.JSONDecodeError as broken:
        kind = "value_error.jsondecode"
        raise Refusal(invalid(["body", broken.pos], broken.msg, kind)) from broken
    except (UnicodeDecodeError, RecursionError) as broken:
        raise Refusal(bad_request("There was an error parsing the body")) from broken
    try:
        published().check("SubmitEmail", value)
    except Unacceptable as refused:
        raise Refusal(unacceptable(refused.problems)) from refused
    mail: Mail = value
    return mail


def _no_number(text: str) -> None:
    """NaN and the infinities are no JSON (RFC 8259 6), though the library reads them."""
    raise Refusal(invalid(["body"], f"{text} is not valid", "value_error.jsondecode"))


def _recipient(_call: Call, mail: Mail) -> Answer | None:
    if "contact_id" in mail:
        return bad_request("Contact not found")
    return None if "email" in mail else invalid(["body", "email"], "field required", _MISSING)


def _headers(_call: Call, mail: Mail) -> Answer | None:
    for index, field in enumerate(mail.get("additional_headers", ())):
        if field["name"].lower() in {"cc", "bcc"}:
            place: list[str | int] = ["body", "additional_headers", index, "name"]
            return invalid(place, "header is not allowed")
    return None


def _content(call: Call, mail: Mail) -> Answer | None:
    content, behaviour = mail["content"], call.world.behaviour
    bodies = [name for name in ("html", "text") if name in content]
    if not bodies and "template" not in content:
        return invalid(["body", "content"], "html, text or template is required", _MISSING)
    if behaviour.encoding_required and "encoding" not in content:
        return invalid(["body", "content", "encoding"], "field required", _MISSING)
    blank = bodies == ["text"] and not content["text"].strip()
    if behaviour.blank_text_refused and blank:
        return invalid(["body", "content", "text"], "text must not be blank")
    if behaviour.bodies != "together" and len(bodies) > 1:
        message = "exactly one of html and text is allowed"
        refused = behaviour.bodies == "one_400"
        return bad_request(message) if refused else invalid(["body", "content"], message)
    return None


def _account(call: Call, _mail: Mail) -> Answer | None:
    account = call.account
    if account.status in _STOPPED:
        return bad_request("Account is suspended")
    if not account.use_email_api:
        return forbidden(call.world.behaviour.forbidden_status)
    used_up = account.remaining is not None and (
        call.world.sent_by_account[account.id] >= account.remaining
    )
    return bad_request("Monthly quota exceeded") if used_up else None


def _sender(call: Call, mail: Mail) -> Answer | None:
    sender = _sender_of(call, mail)
    if sender is None:
        return bad_request("Sender not found")
    return None if sender.confirmed else bad_request("Sender is not confirmed")


def _list(call: Call, mail: Mail) -> Answer | None:
    behaviour = call.world.behaviour
    if "list_id" not in mail:
        free = behaviour.without_list_management and mail.get("without_list_management") is True
        return bad_request("A list is required") if behaviour.list_required and not free else None
    found = _list_of(call, mail)
    if found is None or found.status != "active":
        return bad_request("List not found")
    if behaviour.policy_enforced and not found.policy_accepted:
        return bad_request("List policy has not been accepted")
    if behaviour.opted_out == "refused" and _opted_out(found, mail):
        return bad_request("Contact has unsubscribed")
    return None


# What the schema cannot say, in the order in which it is looked at.
_CHECKS: Final[tuple[Callable[[Call, Mail], Answer | None], ...]] = (
    _recipient,
    _headers,
    _content,
    _account,
    _sender,
    _list,
)
_LOG_KEYS: Final[SortKeys] = {"submitted_time": lambda each: each.submitted_at}


def _outcome(call: Call, mail: Mail) -> str:
    found = _list_of(call, mail)
    rejected = found is not None and _opted_out(found, mail)
    return "rejected" if rejected and call.world.behaviour.opted_out == "rejected" else "queued"


def _sender_of(call: Call, mail: Mail) -> Sender | None:
    wanted = mail["sender"]["id"]
    return next((each for each in call.account.senders if each.id == wanted), None)


def _list_of(call: Call, mail: Mail) -> MailingList | None:
    wanted = mail.get("list_id")
    return next((each for each in call.account.lists if each.id == wanted), None)


def _opted_out(found: MailingList, mail: Mail) -> bool:
    return mail["email"].casefold() in {each.casefold() for each in found.opted_out}


def _stored(call: Call, mail: Mail, outcome: str) -> StoredMail:
    sender = _sender_of(call, mail)
    stored = StoredMail(
        id=str(uuid.uuid4()),
        account=call.account,
        status=outcome,
        submitted_at=call.world.now(),
        request=_without_contents(mail),
        sender_name=mail["sender"].get("name") or (sender.name if sender else ""),
        sender_email=sender.email if sender else "",
    )
    call.world.mails[stored.id] = stored
    call.exchange.email_id = stored.id
    return stored


def _without_contents(mail: Mail) -> Mail:
    """What the look-up shows: bodies and files are in the capture, and are not kept twice."""
    content = {k: v for k, v in mail["content"].items() if k not in {"html", "text", "markup"}}
    return {k: v for k, v in mail.items() if k != "attachment"} | {"content": content}


def _full(stored: StoredMail) -> Mail:
    mail: Mail = stored.request
    content, tracking = mail["content"], mail.get("tracking", {})
    shown = {name: content[name] for name in ("subject", "type")}
    shown["custom_attributes"] = content.get("custom_attributes", [])
    if "template" in content:
        shown["template_id"] = content["template"]["id"]
    known = {"list_id": mail["list_id"]} if "list_id" in mail else {}
    return {
        "email_id": stored.id,
        "status": stored.status,
        "email": mail["email"],
        "submitted_time": int(stored.submitted_at),
        "tags": mail.get("tags", []),
        "sender": {
            "id": mail["sender"]["id"],
            "name": stored.sender_name,
            "email": stored.sender_email,
        },
        "content": shown,
        "tracking": {
            name: tracking.get(name, True) for name in ("opens", "clicks_html", "clicks_text")
        },
        "additional_headers": mail.get("additional_headers", []),
        **known,
    }


def _row(stored: StoredMail) -> Mail:
    mail: Mail = stored.request
    return {
        "email_id": stored.id,
        "status": stored.status,
        "email": mail["email"],
        "subject": mail["content"]["subject"],
        "tags": mail.get("tags", []),
        "submitted_time": int(stored.submitted_at),
    }


# `email` may begin with an operator; without one the address must be equal.
_OPERATORS: Final[dict[str, Callable[[str, str], bool]]] = {
    "==": lambda address, text: address == text,
    "!=": lambda address, text: address != text,
    "~~": lambda address, text: text in address,
    "!~": lambda address, text: text not in address,
}


def _logged(call: Call) -> list[StoredMail]:
    query = call.query
    horizon = call.world.now() - call.world.behaviour.log_delay_seconds
    return [
        each
        for each in call.world.mails.values()
        if each.account.id == call.account.id
        and each.submitted_at <= horizon
        and _address_fits(query["email"], str(each.request["email"]))
        and (query["email_id"] is None or query["email_id"].lower() == each.id)
        and (query["status"] is None or query["status"] == each.status)
        and (query["start_time"] is None or int(each.submitted_at) >= query["start_time"])
        and (query["end_time"] is None or int(each.submitted_at) <= query["end_time"])
    ]


def _address_fits(text: str | None, address: str) -> bool:
    if text is None:
        return True
    operator = text[:2] if text[:2] in _OPERATORS else "=="
    return _OPERATORS[operator](address.casefold(), text.removeprefix(operator).casefold())
