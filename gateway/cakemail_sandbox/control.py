"""``/sandbox/...``: see what arrived, turn switches, set faults. Never faulty itself.

| call | effect |
|---|---|
| `GET /sandbox/emails?after=N&count=K&wait=S` | requests to send; waits S seconds for K answers |
| `DELETE /sandbox/emails` | forget what was captured |
| `POST /sandbox/reset` | begin anew: nothing captured, no faults, default switches, no tokens |
| `GET /sandbox/requests?after=N` | all requests to the API |
| `GET /sandbox/counts` | received and accepted per (Message-ID, recipient) |
| `GET /sandbox/connections` | TCP connections that carried requests: open, most at once, total |
| `GET, PUT, POST, DELETE /sandbox/faults` | list, replace, add one, remove all |
| `GET, PATCH /sandbox/behaviour` | the switches of ``deviations.Behaviour`` |
| `DELETE /sandbox/tokens?refresh=true` | login tokens end now; refresh tokens on request |
| `GET /sandbox/deviations` | the undocumented facts and their switches |
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from cakemail_sandbox.answers import as_json
from cakemail_sandbox.calls import response
from cakemail_sandbox.contract import published
from cakemail_sandbox.deviations import DEVIATIONS, Behaviour
from cakemail_sandbox.faults import Fault
from cakemail_sandbox.views import connections_view, counts_view, exchange_view
from cakemail_sandbox.world import House

router = APIRouter()
LONGEST_WAIT_SECONDS = 60.0


def house_of(request: Request) -> House:
    """The sandbox that answers."""
    house: House = request.app.state.house
    return house


@router.get("/sandbox/emails")
async def emails(
    request: Request,
    after: Annotated[int, Query(ge=0)] = 0,
    count: Annotated[int, Query(ge=0)] = 1,
    wait: Annotated[float, Query(ge=0, le=LONGEST_WAIT_SECONDS)] = 0,
) -> Response:
    """Requests to send, oldest first."""
    capture = house_of(request).world.capture

    def enough() -> bool:
        answered = [each for each in capture.mails(after=after) if each.given is not None]
        return len(answered) >= count

    if wait:
        await capture.wait(enough, seconds=wait)
    return response(as_json(200, [exchange_view(each) for each in capture.mails(after=after)]))


@router.delete("/sandbox/emails", status_code=204)
async def forget(request: Request) -> None:
    """Forget what was captured."""
    house_of(request).world.capture.clear()


@router.post("/sandbox/reset", status_code=204)
async def reset(request: Request) -> None:
    """Begin anew."""
    house_of(request).reset()


@router.get("/sandbox/requests")
async def requests(request: Request, after: Annotated[int, Query(ge=0)] = 0) -> Response:
    """All requests to the API, oldest first."""
    found = house_of(request).world.capture.requests(after=after)
    return response(as_json(200, [exchange_view(each) for each in found]))


@router.get("/sandbox/counts")
async def counts(request: Request) -> Response:
    """Per (Message-ID, recipient)."""
    return response(as_json(200, counts_view(house_of(request))))


@router.get("/sandbox/connections")
async def connections(request: Request) -> dict[str, int]:
    """TCP connections."""
    return connections_view(house_of(request))


@router.get("/sandbox/faults")
async def list_faults(request: Request) -> list[dict[str, Any]]:
    """The rules and how often each has acted."""
    return house_of(request).world.faults.listed()


@router.put("/sandbox/faults", status_code=204)
async def replace_faults(request: Request, faults: list[Fault]) -> None:
    """These rules and no others."""
    house_of(request).world.faults.replace(faults)


@router.post("/sandbox/faults", status_code=204)
async def add_fault(request: Request, fault: Fault) -> None:
    """One more rule, after the others."""
    house_of(request).world.faults.add(fault)


@router.delete("/sandbox/faults", status_code=204)
async def remove_faults(request: Request) -> None:
    """No rules."""
    house_of(request).world.faults.replace([])


@router.get("/sandbox/behaviour")
async def behaviour(request: Request) -> Behaviour:
    """The switches."""
    return house_of(request).world.behaviour


@router.patch("/sandbox/behaviour")
async def change_behaviour(request: Request, changes: dict[str, Any]) -> Behaviour:
    """Turn some switches."""
    world = house_of(request).world
    try:
        world.behaviour = Behaviour.model_validate(world.behaviour.model_dump() | changes)
    except ValidationError as wrong:
        raise RequestValidationError(wrong.errors()) from wrong
    return world.behaviour


@router.delete("/sandbox/tokens")
async def end_tokens(request: Request, *, refresh: bool = False) -> dict[str, int]:
    """All login tokens end now."""
    return {"ended": house_of(request).world.logins.expire(refresh_tokens=refresh)}


@router.get("/sandbox/deviations")
async def deviations() -> list[dict[str, str]]:
    """What the published document does not say."""
    return [asdict(each) for each in DEVIATIONS]


@router.get("/openapi.json")
async def contract() -> dict[str, Any]:
    """The contract that the API part keeps."""
    return dict(published().document)
