"""One recipient's call, from its turn in the queue to a final verdict.

Around the bare POST stand the gates (place in flight, breaker, deadline), the login's renewal and
the few repetitions that cakemail-api 7.5.1 allows. Nothing here knows the ledger or the client.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field

from smtp_gateway.api.breaker import Breaker
from smtp_gateway.api.errors import SERVER_ERROR, THROTTLED, error_type, retry_after_seconds
from smtp_gateway.api.outcomes import Accepted, Attempt, Failed, Repeat, Step, Verdict, judge
from smtp_gateway.api.payload import Payload
from smtp_gateway.api.slots import Lease, Slots
from smtp_gateway.api.submitter import Answer, Submitter
from smtp_gateway.api.tokens import Login
from smtp_gateway.errors import (
    CredentialsRevoked,
    GatewayError,
    LoginExpired,
    NotConfirmed,
    Unavailable,
    Unreachable,
)
from smtp_gateway.telemetry import Event, Log, Metrics
from smtp_gateway.utils.clock import Clock

CALL_SECONDS = 30.0  # smtp-server 4.5
MAX_ACCOUNTS_HTML_ALONE = 10_000
CREATED = 201


@dataclass(slots=True)
class Call:
    """One recipient's submission and what became of its attempts.

    Attributes:
        login: whose bearer it carries.
        account_id: query parameter, or None.
        account: key of the account, for its pressure and habits.
        head: from ``payload.head``.
        payload: what all recipients share.
        deadline: monotonic; no attempt begins after it.
        session_id: for the log.
        message_id: the gateway's own, for the log.
        in_flight: a request may have reached the API and its answer is not known.
        attempt_wall: when the last request began, seconds since 1970; 0 before the first.
        statuses: of all answers.
        request_id: ``x-request-id`` of the last answer.
    """

    login: Login
    account_id: int | None
    account: Hashable
    head: bytes
    payload: Payload
    deadline: float
    session_id: str = ""
    message_id: str = ""
    in_flight: bool = False
    attempt_wall: float = 0.0
    statuses: list[int] = field(default_factory=list)
    request_id: str = ""
    html_alone: bool = False
    renewed: bool = False
    waited: bool = False
    bearer: str = ""


class Caller:
    """Runs calls.

    Args:
        submitter: the bare POST.
        slots: places in flight and pressure per account.
        breaker: of the API's host.
        metrics: latency and errors.
        log: for alerts.
        clock: monotonic and wall.
        call_seconds: limit of one POST.
        sleep: how to wait for a Retry-After.
    """

    def __init__(
        self,
        submitter: Submitter,
        slots: Slots,
        breaker: Breaker,
        metrics: Metrics,
        log: Log,
        clock: Clock,
        *,
        call_seconds: float = CALL_SECONDS,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._submitter = submitter
        self._slots = slots
        self._breaker = breaker
        self._log = log
        self._clock = clock
        self._call_seconds = call_seconds
        self._sleep = sleep
        self._errors = metrics.api_errors
        self._latency_good = metrics.api_latency["email", "success"]
        self._latency_bad = metrics.api_latency["email", "error"]
        self._html_alone: OrderedDict[Hashable, None] = OrderedDict()

    async def run(self, call: Call) -> Accepted | Failed:
        """Call until there is a verdict.

        Never raises a GatewayError: it is the verdict's. When cancelled, ``call.in_flight`` tells
        whether the API may have the message.
        """
        call.html_alone = call.account in self._html_alone
        try:
            while True:
                verdict = await self._attempt(call)
                if not isinstance(verdict, Repeat):
                    return verdict
                await self._get_ready(call, verdict)
        except LoginExpired as error:
            return Failed(error)  # dropped already, and no 554: a new AUTH may be good
        except CredentialsRevoked as error:
            call.login.forget()  # cakemail-api 7.6: 401 again, the token is forgotten
            return Failed(error)
        except GatewayError as error:
            return Failed(error)

    async def _attempt(self, call: Call) -> Verdict:
        bearer = call.bearer = await call.login.bearer()
        lease = await self._slots.acquire(call.account, deadline=call.deadline)
        try:
            if not self._breaker.permits_call():
                raise Unavailable("breaker open")
            answer = await self._post(call, bearer, lease)
            verdict = self._judge(call, answer)
            self._report_pressure(lease, answer)
        finally:
            self._slots.release(lease)
        call.in_flight = False
        if isinstance(verdict, Failed):
            self._alert(call, verdict)
            if isinstance(verdict.error, CredentialsRevoked):
                raise verdict.error
        return verdict

    async def _post(self, call: Call, bearer: str, lease: Lease) -> Answer:
        call.attempt_wall = self._clock.wall()
        call.in_flight = True
        try:
            answer = await self._submitter.submit(
                call.payload.addressed(call.head, html_alone=call.html_alone),
                bearer=bearer,
                account_id=call.account_id,
                timeout_seconds=self._call_seconds,
            )
        except (Unreachable, NotConfirmed) as error:
            self._record(lease, failed=True, kind=_transport_kind(error))
            call.in_flight = False
            raise
        kind = "" if answer.status == CREATED else error_type(answer.status)
        self._record(lease, failed=answer.status >= SERVER_ERROR, kind=kind)
        call.statuses.append(answer.status)
        call.request_id = answer.request_id
        return answer

    def _record(self, lease: Lease, *, failed: bool, kind: str) -> None:
        latency = self._latency_bad if kind else self._latency_good
        latency.observe(self._clock.monotonic() - lease.began)
        if kind:
            self._errors[kind].inc()
        self._breaker.record(failed=failed, began_monotonic=lease.began)

    def _judge(self, call: Call, answer: Answer) -> Verdict:
        verdict = judge(
            answer,
            Attempt(
                renewed=call.renewed,
                waited=call.waited,
                can_drop_text=call.payload.can_drop_text and not call.html_alone,
                remaining_seconds=call.deadline - self._clock.monotonic(),
                now_wall=self._clock.wall(),
            ),
        )
        if answer.status == CREATED and isinstance(verdict, Failed):
            unreadable = isinstance(verdict.error, NotConfirmed)
            self._errors["unreadable" if unreadable else "validation"].inc()
        return verdict

    def _report_pressure(self, lease: Lease, answer: Answer) -> None:
        if answer.status == THROTTLED:
            seconds = retry_after_seconds(answer.retry_after, now_wall=self._clock.wall())
            self._slots.throttled(lease, seconds=seconds)
        elif answer.status == CREATED:
            self._slots.succeeded(lease)

    async def _get_ready(self, call: Call, repeat: Repeat) -> None:
        if repeat.step is Step.RENEW_LOGIN:
            call.renewed = True
            await call.login.renewed(call.bearer)
        elif repeat.step is Step.WAIT:
            call.waited = True
            await self._sleep(repeat.wait_seconds)
        else:
            call.html_alone = True
            self._remember_html_alone(call.account)

    def _remember_html_alone(self, account: Hashable) -> None:
        self._html_alone[account] = None
        if len(self._html_alone) > MAX_ACCOUNTS_HTML_ALONE:
            self._html_alone.popitem(last=False)

    def _alert(self, call: Call, failed: Failed) -> None:
        if failed.alert:
            self._log.error(
                Event.UPSTREAM_ALERT,
                session=call.session_id,
                message=call.message_id,
                kind=type(failed.error).__name__,
                status=call.statuses[-1],
                request_id=call.request_id,
                excerpt=failed.error.facts.get("excerpt", ""),
            )


def _transport_kind(error: Unreachable | NotConfirmed) -> str:
    return "timeout" if error.facts.get("cause") == "timeout" else "network_error"
