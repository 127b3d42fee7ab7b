"""What every endpoint of the API begins with: who calls, in which account, with what arguments."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, cast

from fastapi import Request, Response

from cakemail_sandbox.answers import Answer, Refusal, forbidden, unacceptable, unauthorized
from cakemail_sandbox.capture import Exchange
from cakemail_sandbox.contract import Unacceptable, published
from cakemail_sandbox.logins import Login
from cakemail_sandbox.seed import Account
from cakemail_sandbox.world import World


@dataclass(frozen=True, slots=True)
class Call:
    """An authenticated call with its arguments, checked against the contract."""

    world: World
    exchange: Exchange
    login: Login
    account: Account
    query: dict[str, Any]
    path: dict[str, Any]


def authorised(path: str, scope: str, method: str = "GET") -> Callable[[Request], Awaitable[Call]]:
    """A dependency for the operation ``method path`` of the contract, open to ``scope``.

    The order is that of the service: 401 before 422 before 400.
    """

    async def dependency(request: Request) -> Call:
        world, exchange = world_of(request), exchange_of(request)
        login = world.logins.authenticate(request.headers.get("authorization", ""))
        if login is None:
            raise Refusal(unauthorized("Could not validate credentials"))
        query = _read(path, method, "query", dict(request.query_params))
        places = _read(path, method, "path", request.path_params)
        if not login.may(scope):
            raise Refusal(forbidden(world.behaviour.forbidden_status))
        account = acting(world, login, query.get("account_id"))
        exchange.account_id = account.id
        return Call(world, exchange, login, account, query, places)

    return dependency


def acting(world: World, login: Login, wanted: int | None) -> Account:
    """The account a call acts in: the one asked for, else the login's own.

    Raises:
        Refusal: the caller cannot reach it, or it does not exist; the answers are the same.
    """
    number = login.account_id if wanted is None else wanted
    if number not in login.accounts:
        raise Refusal(forbidden(world.behaviour.forbidden_status))
    return world.seed.account(number)


def world_of(request: Request) -> World:
    """The world in which this request began."""
    return cast("World", request.state.world)


def exchange_of(request: Request) -> Exchange:
    """The record of this request."""
    return cast("Exchange", request.state.exchange)


def response(answer: Answer) -> Response:
    """An answer as the framework wants it."""
    return Response(answer.body, answer.status, dict(answer.headers), answer.media_type)


def _read(path: str, method: str, place: str, given: dict[str, str]) -> dict[str, Any]:
    try:
        return published().read_parameters(path, method, place, given)
    except Unacceptable as refused:
        raise Refusal(unacceptable(refused.problems)) from refused
