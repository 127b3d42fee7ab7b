"""One call's gates, repetitions and metrics; the submitter is scripted, the clock given."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from prometheus_client import CollectorRegistry

from smtp_gateway.api.breaker import Breaker, BreakerState
from smtp_gateway.api.calls import Call, Caller
from smtp_gateway.api.outcomes import Accepted, Failed
from smtp_gateway.api.payload import Payload
from smtp_gateway.api.slots import Slots
from smtp_gateway.api.submitter import Answer
from smtp_gateway.errors import (
    CredentialsRevoked,
    GatewayError,
    LoginExpired,
    LookupUnavailable,
    NotConfirmed,
    RequestMisdirected,
    Throttled,
    Unavailable,
    Unreachable,
)
from smtp_gateway.telemetry import Metrics
from tests.support.delivery_bench import CountedLogin
from tests.support.fakes import FakeLog, GivenClock

QUEUED = Answer(201, b'{"data":{"id":"i-1","status":"queued"}}')
PAYLOAD = Payload(b",1", b",2", b",3", (), can_drop_text=True)


class ScriptedSubmitter:
    """Answers one after the other; an error is raised; a number is time that passes first."""

    def __init__(self, clock: GivenClock, *script: Answer | GatewayError | float) -> None:
        self._clock = clock
        self._script = list(script)
        self.bodies: list[bytes] = []
        self.bearers: list[str] = []

    async def submit(
        self, body: Sequence[bytes], *, bearer: str, account_id: int | None, timeout_seconds: float
    ) -> Answer:
        """See ``Submitter``."""
        self.bodies.append(b"".join(body))
        self.bearers.append(bearer)
        step = self._script.pop(0)
        while isinstance(step, float):
            self._clock.advance(step)
            step = self._script.pop(0)
        if isinstance(step, GatewayError):
            raise step
        return step

    async def aclose(self) -> None:
        """See ``Submitter``."""


class Bench:
    """A caller over a script."""

    def __init__(self, *script: Answer | GatewayError | float) -> None:
        self.clock = GivenClock()
        self.metrics = Metrics(CollectorRegistry())
        self.log = FakeLog()
        self.login = CountedLogin()
        self.submitter = ScriptedSubmitter(self.clock, *script)
        self.slots = Slots(4, self.clock, sleep=self._sleep, chance=lambda: 0.0)
        self.breaker = Breaker(self.clock)
        self.caller = Caller(
            self.submitter,
            self.slots,
            self.breaker,
            self.metrics,
            self.log,
            self.clock,
            sleep=self._sleep,
        )

    async def _sleep(self, seconds: float) -> None:
        self.clock.advance(seconds)

    def call(self, seconds_left: float = 50.0) -> Call:
        """A call of account 1."""
        return Call(
            login=self.login,
            account_id=None,
            account="1",
            head=b"{",
            payload=PAYLOAD,
            deadline=self.clock.now + seconds_left,
            session_id="s-1",
            message_id="m-1",
        )

    def sample(self, name: str, **labels: str) -> float:
        """A metric's value."""
        return self.metrics.registry.get_sample_value(name, labels) or 0.0


async def error_of(bench: Bench, call: Call | None = None) -> GatewayError:
    """The error of a call that fails; its place must be free again."""
    verdict = await bench.caller.run(call or bench.call())
    assert isinstance(verdict, Failed)
    assert bench.slots.in_use == 0
    return verdict.error


async def test_accepted_call_is_measured_as_success() -> None:
    """Latency with its label, no error, and nothing left in flight."""
    bench = Bench(0.25, QUEUED)
    call = bench.call()
    assert await bench.caller.run(call) == Accepted("i-1")
    assert (call.in_flight, call.statuses, call.attempt_wall) == (False, [201], 1_000_000.0)
    latency = {"endpoint": "email", "status": "success"}
    assert bench.sample("smtp_api_latency_seconds_sum", **latency) == 0.25
    assert bench.submitter.bodies == [b"{,1,2,3}"]


async def test_wait_ends_before_the_deadline_or_is_not_begun() -> None:
    """10 s left after 40 s of answer: 9 s are waited for, 11 are not."""
    good = Bench(40.0, Answer(503, b"", "9"), QUEUED)
    assert await good.caller.run(good.call()) == Accepted("i-1")
    bad = Bench(40.0, Answer(503, b"", "11"))
    assert isinstance(await error_of(bad), Unavailable)


async def test_deadline_that_passed_before_the_call_sends_nothing() -> None:
    """No attempt begins after the deadline."""
    bench = Bench()
    assert isinstance(await error_of(bench, bench.call(seconds_left=0)), Unavailable)
    assert bench.submitter.bodies == []


async def test_deadline_that_passed_during_the_renewal_sends_nothing_more() -> None:
    """The answer 401 came too late for a second attempt."""
    bench = Bench(51.0, Answer(401, b""))
    assert isinstance(await error_of(bench), Unavailable)
    assert len(bench.submitter.bodies) == 1


@pytest.mark.parametrize("kind", [Unreachable, NotConfirmed])
async def test_failure_of_the_transport_is_the_verdict_without_repeat(
    kind: type[Unreachable | NotConfirmed],
) -> None:
    """Counted by its cause, felt by the breaker."""
    bench = Bench(kind("x", cause="timeout"))
    assert type(await error_of(bench)) is kind
    assert len(bench.submitter.bodies) == 1
    assert bench.sample("smtp_api_errors_total", error_type="timeout") == 1.0


async def test_second_401_forgets_the_login() -> None:
    """Two bearers were tried."""
    bench = Bench(Answer(401, b""), Answer(401, b""))
    assert isinstance(await error_of(bench), CredentialsRevoked)
    assert bench.submitter.bearers == ["bearer-0", "bearer-1"]
    assert bench.login.forgotten == 1
    assert bench.sample("smtp_api_errors_total", error_type="auth") == 2.0


@pytest.mark.parametrize("kind", [CredentialsRevoked, LoginExpired, LookupUnavailable])
async def test_no_bearer_no_call(kind: type[GatewayError]) -> None:
    """The login's own error is the verdict; one that ended is not made a revoked one."""
    bench = Bench()
    bench.login.failure = kind("x")
    assert type(await error_of(bench)) is kind
    assert bench.login.forgotten == (1 if kind is CredentialsRevoked else 0)


async def test_text_is_dropped_once_and_for_the_account() -> None:
    """The second call of the account begins with html alone; the refusal then ends it."""
    both = Answer(400, b'{"detail":"only one of html and text"}')
    bench = Bench(both, QUEUED, both)
    assert await bench.caller.run(bench.call()) == Accepted("i-1")
    await error_of(bench)
    assert bench.submitter.bodies == [b"{,1,2,3}", b"{,1,3}", b"{,1,3}"]


async def test_twenty_server_errors_open_the_breaker_for_calls_too() -> None:
    """A transaction that was admitted before gets 451 without a call."""
    bench = Bench(*[Answer(500, b"")] * 20)
    for _ in range(20):
        assert isinstance(await error_of(bench), NotConfirmed)
    assert isinstance(await error_of(bench), Unavailable)
    assert len(bench.submitter.bodies) == 20
    assert bench.breaker.state is BreakerState.OPEN


async def test_refusals_and_429_do_not_open_the_breaker() -> None:
    """A living host answered."""
    bench = Bench(*[Answer(422, b"")] * 15, *[Answer(429, b"", "0")] * 30)
    for _ in range(30):
        await error_of(bench)
    assert bench.breaker.state is BreakerState.CLOSED


async def test_429_pauses_the_account_for_its_other_calls() -> None:
    """The next call of the account ends at once with what is left of the pause."""
    bench = Bench(Answer(429, b"", "100"))
    await error_of(bench)
    bench.clock.advance(40)
    error = await error_of(bench)
    assert isinstance(error, Throttled)
    assert error.facts["seconds"] == 60


async def test_alert_names_status_and_request_but_no_address() -> None:
    """A wrong base URL is ours to mend: an error in the log."""
    bench = Bench(Answer(404, b'{"detail":"no joe@x.test"}', request_id="r-9"))
    assert isinstance(await error_of(bench), RequestMisdirected)
    (line,) = bench.log.lines
    assert (line.level, line.event) == ("error", "upstream alert")
    assert line.fields == {
        "session": "s-1",
        "message": "m-1",
        "kind": "RequestMisdirected",
        "status": 404,
        "request_id": "r-9",
        "excerpt": "",
    }


@pytest.mark.parametrize(
    ("body", "label"),
    [
        (b"<html>", "unreadable"),
        (b'{"data":{"status":"rejected"}}', "validation"),
        (b'{"data":{"status":"error"}}', "validation"),
    ],
)
async def test_201_that_is_no_acceptance_counts_as_an_error(body: bytes, label: str) -> None:
    """By what it was."""
    bench = Bench(Answer(201, body))
    await error_of(bench)
    assert bench.sample("smtp_api_errors_total", error_type=label) == 1.0
