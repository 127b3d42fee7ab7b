"""A whole ``Delivery`` over a scripted API on real sockets; only login and look-ups are fakes."""

from __future__ import annotations

import json
import uuid
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import CollectorRegistry

from smtp_gateway.api.breaker import Breaker
from smtp_gateway.api.calls import Caller
from smtp_gateway.api.slots import Slots
from smtp_gateway.api.submitter import AiohttpSubmitter, Submitter, open_session
from smtp_gateway.api.tokens import Login
from smtp_gateway.delivery import Delivery, DeliverySettings, Letter, Receipt
from smtp_gateway.errors import GatewayError
from smtp_gateway.ledger import InProcessLedger
from smtp_gateway.policy import Policy
from smtp_gateway.preparation import Preparer
from smtp_gateway.recipients import Recipients
from smtp_gateway.telemetry import Metrics
from smtp_gateway.utils.tasks import TaskOwner
from tests.support.api_double import ApiDouble, Call, Said, said
from tests.support.fakes import FakeLog, FakeLogin, GivenClock

POST = "POST /v2/emails"


def message(*lines: str, message_id: str = "<m-1@client.test>", body: str = "Hello") -> bytes:
    """A small message, with these header lines added."""
    fields = [
        "From: Shop <shop@example.test>",
        "To: someone@else.test",
        "Subject: Order 17",
        *([f"Message-ID: {message_id}"] if message_id else []),
        *lines,
    ]
    return "\r\n".join([*fields, "", body, ""]).encode()


def large_message(size: int) -> bytes:
    """A message of about this size with one attachment."""
    fields = ["MIME-Version: 1.0", 'Content-Type: multipart/mixed; boundary="b"']
    line = b64encode(bytes(range(57))).decode() + "\r\n"
    attachment = line * (size // len(line))
    return message(
        *fields,
        body="--b\r\nContent-Type: text/plain\r\n\r\nHello\r\n--b\r\n"
        'Content-Type: application/pdf; name="a.pdf"\r\n'
        f"Content-Transfer-Encoding: base64\r\n\r\n{attachment}\r\n--b--",
    )


def queued(call: Call) -> Said:
    """201 with an id that can be told from the recipient."""
    return said(201, queued_body(recipient_of(call)))


def queued_body(recipient: str) -> bytes:
    """The body of the usual 201 for this recipient."""
    return json.dumps({"data": {"id": api_id(recipient), "status": "queued"}}).encode()


def api_id(recipient: str) -> str:
    """The id under which ``queued`` takes this recipient."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, recipient))


def recipient_of(call: Call) -> str:
    """Whom a request is for."""
    found = json.loads(call.body)["email"]
    assert isinstance(found, str)
    return found


def by_recipient(answers: Mapping[str, Said]) -> Callable[[Call], Said]:
    """These answers for these recipients, ``queued`` for all others."""

    def answer(call: Call) -> Said:
        return answers.get(recipient_of(call)) or queued(call)

    return answer


class CountedLogin(FakeLogin):
    """A login with a new bearer at each renewal."""

    renewals = 0
    forgotten = 0
    failure: GatewayError | None = None

    async def bearer(self) -> str:
        """See ``Login``."""
        if self.failure is not None:
            raise self.failure
        return f"bearer-{self.renewals}"

    async def renewed(self, refused_bearer: str) -> str:
        """See ``Login``."""
        if refused_bearer == f"bearer-{self.renewals}":
            self.renewals += 1
        return await self.bearer()

    def forget(self) -> None:
        """See ``Login``."""
        self.forgotten += 1


@dataclass
class FakeLookups:
    """Look-ups that find one sender and one list.

    Attributes:
        failure: raised by the look-up of the sender.
        log: recipient to id, or to the error of reading the log.
        searched: arguments of each search in the log.
        forgotten: senders dropped.
    """

    list_id: int | None = 7
    failure: GatewayError | None = None
    log: dict[str, str | GatewayError] = field(default_factory=dict)
    searched: list[tuple[str, str, float]] = field(default_factory=list)
    forgotten: list[str] = field(default_factory=list)
    asked: int = 0

    async def account(self, login: Login, wanted: int | None) -> int | None:
        """See ``Lookups``."""
        return wanted

    async def sender(
        self,
        login: Login,
        account: int | None,
        address: str,
        sender_id: str | None = None,
        fallback: str | None = None,
    ) -> str:
        """See ``Lookups``."""
        self.asked += 1
        if self.failure is not None:
            raise self.failure
        return sender_id or "sender-1"

    def forget_sender(self, login: Login, account: int | None, sender_id: str) -> None:
        """See ``Lookups``."""
        self.forgotten.append(sender_id)

    async def mailing_list(self, login: Login, account: int | None) -> int | None:
        """See ``Lookups``."""
        return self.list_id

    async def find_submitted(
        self,
        login: Login,
        account: int | None,
        recipient: str,
        message_id: str,
        since_wall: float,
    ) -> str | None:
        """See ``Lookups``."""
        self.searched.append((recipient, message_id, since_wall))
        found = self.log.get(recipient)
        if isinstance(found, GatewayError):
            raise found
        return found


@dataclass
class DeliveryBench:
    """The parts, to look at and to steer."""

    api: ApiDouble
    clock: GivenClock
    delivery: Delivery
    lookups: FakeLookups
    ledger: InProcessLedger
    slots: Slots
    breaker: Breaker
    metrics: Metrics
    log: FakeLog
    tasks: TaskOwner
    preparer: Preparer
    slept: list[float]
    failures: list[BaseException]
    login: CountedLogin = field(default_factory=CountedLogin)
    settled: int = 0
    letters: int = 0

    def letter(self, *recipients: str, content: bytes | None = None, **given: Any) -> Letter:
        """A letter that arrives now."""
        self.letters += 1
        fields: dict[str, Any] = {
            "login": self.login,
            "mail_from": "bounce@example.test",
            "recipients": recipients or ("a@x.test",),
            "content": message() if content is None else content,
            "session_id": "s1",
            "message_id": f"submission-{self.letters}",
            "received_monotonic": self.clock.monotonic(),
            "on_settled": self._count_settled,
        }
        return Letter(**{**fields, **given})

    def _count_settled(self) -> None:
        self.settled += 1

    async def deliver(
        self, *recipients: str, policy: Policy | None = None, **given: Any
    ) -> Receipt | GatewayError:
        """One delivery; its receipt, or the error that the client would be told."""
        letter = self.letter(*recipients, **given)
        try:
            return await self.delivery.deliver(letter, policy or Policy())
        except GatewayError as error:
            return error

    def posted(self) -> list[str]:
        """Recipients of all calls, in the order of their arrival."""
        return [recipient_of(call) for call in self.api.calls(POST)]

    def sample(self, name: str, **labels: str) -> float:
        """A metric's value."""
        return self.metrics.registry.get_sample_value(name, labels) or 0.0


@asynccontextmanager
async def delivery_bench(
    *, submitter: Submitter | None = None, limit: int = 20, **settings: Any
) -> AsyncIterator[DeliveryBench]:
    """A bench whose API accepts every mail until told otherwise."""
    given = GivenClock()
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        given.advance(seconds)

    failures: list[BaseException] = []
    metrics, log = Metrics(CollectorRegistry()), FakeLog()
    tasks = TaskOwner(lambda _, error: failures.append(error))
    slots = Slots(limit, given, sleep=sleep, chance=lambda: 1.0)
    breaker = Breaker(given)
    ledger, lookups = InProcessLedger(given, metrics), FakeLookups()
    async with ApiDouble() as api:
        api.on(POST, queued)
        real = AiohttpSubmitter(open_session(connections=limit), api.base_url)
        caller = Caller(submitter or real, slots, breaker, metrics, log, given, sleep=sleep)
        preparer = Preparer(message_id_domain="gateway.test")
        recipients = Recipients(caller, ledger, lookups, metrics, given)
        delivery = Delivery(
            preparer=preparer,
            lookups=lookups,
            recipients=recipients,
            ledger=ledger,
            slots=slots,
            breaker=breaker,
            metrics=metrics,
            log=log,
            clock=given,
            tasks=tasks,
            settings=DeliverySettings(ledger_secret=b"secret", **settings),
        )
        yield DeliveryBench(
            api, given, delivery, lookups, ledger, slots, breaker, metrics, log, tasks, preparer,
            slept, failures,
        )  # fmt: skip
        await tasks.cancel()
        await real.aclose()
        await preparer.aclose()
    assert failures == []
