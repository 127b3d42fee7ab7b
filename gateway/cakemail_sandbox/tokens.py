"""``POST /token``: password and refresh grants."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

from fastapi import APIRouter, Request, Response

from cakemail_sandbox.answers import (
    Answer,
    Refusal,
    as_json,
    bad_request,
    forbidden,
    invalid,
    unacceptable,
    unauthorized,
)
from cakemail_sandbox.calls import exchange_of, response, world_of
from cakemail_sandbox.contract import Unacceptable, published
from cakemail_sandbox.seed import User
from cakemail_sandbox.world import World

router = APIRouter()
FORM_TYPE = "application/x-www-form-urlencoded"


@router.post("/token")
async def create_token(request: Request) -> Response:
    """Log in with a password, or renew a login."""
    world, exchange = world_of(request), exchange_of(request)
    form = _form(request, await request.body())
    user = _user(world, form)
    exchange.login = user.email
    if user.multi_factor:
        status = world.behaviour.challenge_status
        return response(as_json(status, {"challenge": "mfa"}))
    account_id = form.get("account_id", user.accounts[0])
    if account_id not in user.accounts:
        raise Refusal(forbidden(world.behaviour.forbidden_status))
    exchange.account_id = account_id
    seconds = form.get("expiration_seconds", world.behaviour.expires_in_seconds)
    grant = world.logins.issue(user, account_id=account_id, expires_in=seconds)
    return response(
        as_json(
            200,
            {
                "access_token": grant.access_token,
                "token_type": "bearer",
                "expires_in": grant.expires_in,
                "refresh_token": grant.refresh_token,
                "accounts": list(grant.accounts),
            },
        )
    )


def _form(request: Request, body: bytes) -> dict[str, Any]:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        fields = parse_qsl(body.decode(), keep_blank_values=True, strict_parsing=False)
    except ValueError:
        fields = []
    # Another type of body is read as a form without fields, as the service's framework does.
    given = dict(fields) if kind == FORM_TYPE else {}
    try:
        return published().read_form("Body_createToken", given)
    except Unacceptable as refused:
        raise Refusal(unacceptable(refused.problems)) from refused


def _user(world: World, form: dict[str, Any]) -> User:
    renewal = form["grant_type"] == "refresh_token"
    for name in ("refresh_token",) if renewal else ("username", "password"):
        if name not in form:
            raise Refusal(invalid(["body", name], "field required", "value_error.missing"))
    if renewal:
        replaced = world.behaviour.refresh_token_replaced
        user = world.logins.by_refresh_token(form["refresh_token"], replaced=replaced)
    else:
        user = world.logins.by_password(form["username"], form["password"])
    if user is None:
        raise Refusal(_wrong(world.behaviour.wrong_password_status))
    return user


def _wrong(status: int) -> Answer:
    message = "Invalid credentials"
    answers = {
        400: bad_request(message),
        401: unauthorized(message),
        403: as_json(403, {"detail": [{"msg": message, "type": "forbidden"}]}),
        422: invalid(["body", "password"], message),
    }
    return answers[status]
