"""One accepted message, from bytes to outcome.

``Delivery`` keeps no spool: 250 is said when every recipient has a definite answer from the API and
at least one was accepted (smtp-server 4.1). Everything happens under one deadline. What is under
way when it passes, or when the client has gone, goes on and settles the ledger, so that the
client's next try neither loses nor doubles a mail.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from smtp_gateway.api.breaker import Breaker
from smtp_gateway.api.outcomes import Accepted
from smtp_gateway.api.slots import Slots
from smtp_gateway.api.tokens import Login
from smtp_gateway.email.addresses import distinct
from smtp_gateway.email.message import Steering
from smtp_gateway.errors import (
    CredentialsRevoked,
    Fate,
    GatewayError,
    HeaderInvalid,
    InternalError,
    NotConfirmed,
    Throttled,
    Unavailable,
)
from smtp_gateway.ledger import Keep, Ledger, entry_key
from smtp_gateway.policy import EmailType, Policy
from smtp_gateway.preparation import Prepared, Preparer
from smtp_gateway.recipients import Errand, Lookups, Outcome, Recipient, Recipients
from smtp_gateway.telemetry import Event, Log, Metrics
from smtp_gateway.utils.clock import Clock
from smtp_gateway.utils.stack import stack_of
from smtp_gateway.utils.tasks import TaskOwner


@dataclass(frozen=True, slots=True)
class Letter:
    """One message as the SMTP side took it.

    Attributes:
        login: who sends.
        mail_from: reverse path; "" for the null sender.
        recipients: envelope recipients in the order of RCPT, as given.
        content: the message as received, CRLF line ends.
        session_id: for the log.
        message_id: the gateway's own id of this transaction, a UUID; for the log.
        received_monotonic: when the final dot came; the deadline counts from here.
        on_settled: called once when the last API call of this message has its answer, which may
            be after ``deliver`` returned: the memory of the message is free from then on.
        client_there: whether the client still waits for the reply. What it may not have heard is
            remembered as such, so that its next try is no second mail (smtp-server 4.3).
    """

    login: Login
    mail_from: str
    recipients: Sequence[str]
    content: bytes
    session_id: str
    message_id: str
    received_monotonic: float
    on_settled: Callable[[], None]
    client_there: Callable[[], bool] = lambda: True


@dataclass(frozen=True, slots=True)
class Receipt:
    """Every recipient has a definite answer and at least one was accepted: 250.

    Attributes:
        id: the API's UUID for one recipient, the gateway's own submission UUID for several.
        accepted: how many recipients the API has.
        refused: how many were refused for good.
    """

    id: str
    accepted: int
    refused: int


class Courier(Protocol):
    """What the SMTP handler needs of delivery."""

    def admit(self, login: Login) -> None:
        """At MAIL: refuse early what would be refused after the upload.

        Raises:
            Unavailable: breaker open, or the wait for a slot would be too long.
            Throttled: the account's 429 has not passed.
            GatewayError: the login's own refusal.
        """
        ...

    async def deliver(self, letter: Letter, policy: Policy) -> Receipt:
        """Submit to every distinct recipient; the whole ends within the deadline.

        Raises:
            GatewayError: the reply that the client gets instead of 250.
        """
        ...


@dataclass(frozen=True, slots=True)
class DeliverySettings:
    """Limits of a delivery (smtp-server 4.5).

    Attributes:
        deadline_seconds: from the final dot to the reply, all recipients together.
        calls_per_message: in parallel.
        longest_wait_seconds: expected wait for a place beyond which MAIL is refused.
        ledger_secret: keys the ledger's hashes; shared by replicas that share a store.
    """

    ledger_secret: bytes
    deadline_seconds: float = 50.0
    calls_per_message: int = 10
    longest_wait_seconds: float = 2.0


def combine(outcomes: Sequence[Outcome]) -> GatewayError | None:
    """One reply for all recipients: None for 250, else the error to answer (cakemail-api 7.4).

    Any temporary or ambiguous outcome makes it the first such; a login that no longer holds speaks
    for itself, as it says nothing about a recipient; refusals alone give the first of them.
    """
    errors = [outcome for outcome in outcomes if isinstance(outcome, GatewayError)]
    for error in errors:
        if error.fate is not Fate.PERMANENT:
            return error
    for error in errors:
        if isinstance(error, CredentialsRevoked):
            return error
    return errors[0] if len(errors) == len(outcomes) else None


@dataclass(slots=True)
class _Job:
    """One message under way."""

    letter: Letter
    policy: Policy
    prepared: Prepared
    errand: Errand
    began: float
    recipients: list[Recipient] = field(default_factory=list)
    error: GatewayError | None = None
    replied: bool = False


class Delivery:
    """The courier.

    Args:
        preparer: bytes to payload.
        lookups: account, sender, list, the API's log.
        recipients: carries out one recipient's part.
        ledger: the one ``recipients`` settles.
        slots: for the estimate and the pauses at MAIL.
        breaker: for the answer at MAIL.
        metrics: durations and refusals; the edge measures the whole of a message.
        log: one line per message.
        clock: monotonic.
        tasks: owner of the calls; ``settle`` it on shutdown.
        settings: limits.
    """

    def __init__(
        self,
        *,
        preparer: Preparer,
        lookups: Lookups,
        recipients: Recipients,
        ledger: Ledger,
        slots: Slots,
        breaker: Breaker,
        metrics: Metrics,
        log: Log,
        clock: Clock,
        tasks: TaskOwner,
        settings: DeliverySettings,
    ) -> None:
        self._preparer = preparer
        self._lookups = lookups
        self._recipients = recipients
        self._ledger = ledger
        self._slots = slots
        self._breaker = breaker
        self._metrics = metrics
        self._log = log
        self._clock = clock
        self._tasks = tasks
        self._settings = settings
        stages = metrics.processing_duration
        self._stage_parse, self._stage_transform = stages["parse"], stages["transform"]
        self._stage_submit = stages["submit"]

    def admit(self, login: Login) -> None:
        """See ``Courier``. The breaker is asked last: its probe is not wasted on a refusal."""
        if login.refusal is not None:
            raise login.refusal
        refusals = self._metrics.admission_refusals
        account = _account_key(login, None)
        pause = self._slots.pause_seconds(account)
        if pause > 0:
            refusals["throttled"].inc()
            raise Throttled("account is paused", seconds=int(pause) + 1)
        if self._slots.expected_wait_seconds(account) > self._settings.longest_wait_seconds:
            refusals["slots"].inc()
            raise Unavailable("too long a wait for a place")
        if not self._breaker.admits():
            refusals["breaker"].inc()
            raise Unavailable("breaker open")

    async def deliver(self, letter: Letter, policy: Policy) -> Receipt:
        """See ``Courier``."""
        try:
            job = await self._prepare(letter, policy)
        except BaseException as error:
            letter.on_settled()
            self._write_unprepared(letter, error)
            raise
        task = self._tasks.spawn(self._run(job), name="message")
        task.add_done_callback(lambda _: letter.on_settled())
        try:
            # Neither the limit nor a cancelled caller stops the task: the ledger has to be settled.
            await asyncio.wait({task}, timeout=self._seconds_left(job))
            receipt = await self._conclude(job)
        except BaseException as error:
            self._write(job, type(error).__name__)
            raise
        self._write(job, "accepted", receipt)
        return receipt

    async def _prepare(self, letter: Letter, policy: Policy) -> _Job:
        deadline = letter.received_monotonic + self._settings.deadline_seconds
        left = deadline - self._clock.monotonic()
        try:
            prepared = await self._preparer.prepare(letter.content, policy, timeout_seconds=left)
        except TimeoutError as error:
            raise Unavailable("the deadline passed before the first call") from error
        except GatewayError:
            raise
        except Exception as error:
            self._log_defect(letter, error)
            raise InternalError("a defect while preparing") from error
        self._stage_parse.observe(prepared.parse_seconds)
        self._stage_transform.observe(prepared.transform_seconds)
        if prepared.steering.noted:
            self._metrics.headers_noted.inc(len(prepared.steering.noted))
        errand = Errand(
            login=letter.login,
            submission_id=letter.message_id,
            steering=prepared.steering,
            payload=prepared.payload,
            deadline=deadline,
            session_id=letter.session_id,
            base_log=self._log,
            may_send_twice=policy.allow_second_sending,
        )
        return _Job(letter, policy, prepared, errand, began=self._clock.monotonic())

    def _seconds_left(self, job: _Job) -> float:
        return max(0.0, job.errand.deadline - self._clock.monotonic())

    async def _run(self, job: _Job) -> None:
        """All of a message that the client's departure must not stop."""
        try:
            await self._begin(job)
            await self._call_all(job)
        except GatewayError as error:
            job.error = error
        except Exception as error:  # noqa: BLE001  # a defect of ours is temporary for the client
            job.error = InternalError("a defect before the first call")
            self._log_defect(job.letter, error)
        finally:
            await self._recipients.release(job.recipients)
            self._stage_submit.observe(self._clock.monotonic() - job.began)
            if job.replied:
                self._write_late(job)

    async def _begin(self, job: _Job) -> None:
        """All that can be found wrong before the first call (cakemail-api 7.1)."""
        errand, steering = job.errand, job.prepared.steering
        errand.account_id = await self._lookups.account(errand.login, steering.account_id)
        errand.account = _account_key(errand.login, errand.account_id)
        job.recipients = list(self._addressees(job))
        for recipient in job.recipients:
            await self._recipients.claim(recipient)
        if all(recipient.outcome is not None for recipient in job.recipients):
            return
        errand.sender_id = await self._lookups.sender(
            errand.login,
            errand.account_id,
            steering.from_address,
            steering.sender_id,
            job.policy.fallback_sender_id,
        )
        errand.list_id = await self._list(errand, steering)

    def _addressees(self, job: _Job) -> Iterator[Recipient]:
        steering, letter = job.prepared.steering, job.letter
        content = steering.digest
        if steering.idempotency_key is not None:
            content = b"key:" + steering.idempotency_key.encode()
        for address in distinct(letter.recipients):
            key = entry_key(
                self._settings.ledger_secret,
                account=str(job.errand.account),
                mail_from=letter.mail_from,
                recipient=address,
                content=content,
            )
            yield Recipient(address, key)

    async def _list(self, errand: Errand, steering: Steering) -> int | None:
        if steering.list_id is not None:
            return steering.list_id
        found = await self._lookups.mailing_list(errand.login, errand.account_id)
        if found is None and steering.email_type is EmailType.MARKETING:
            reason = "marketing mail needs a list, and no active one was found"
            raise HeaderInvalid(header="X-List-Id", reason=reason)
        return found

    async def _call_all(self, job: _Job) -> None:
        due = [recipient for recipient in job.recipients if recipient.outcome is None]
        if len(due) == 1:
            await self._recipients.run(due[0], job.errand)
        elif due:
            queue = iter(due)
            workers = [
                self._tasks.spawn(self._work_off(queue, job.errand), name="recipients")
                for _ in range(min(self._settings.calls_per_message, len(due)))
            ]
            await asyncio.wait(workers)

    async def _work_off(self, queue: Iterator[Recipient], errand: Errand) -> None:
        for recipient in queue:
            await self._recipients.run(recipient, errand)

    async def _conclude(self, job: _Job) -> Receipt:
        if job.error is not None:
            raise job.error
        outcomes = _outcomes_now(job.recipients)
        error = combine(outcomes)
        refused = sum(isinstance(outcome, GatewayError) for outcome in outcomes)
        if error is None:
            if job.letter.client_there():
                await self._confirm(job, _life(job.prepared.steering))
            return Receipt(_receipt_id(job), accepted=len(outcomes) - refused, refused=refused)
        if refused == len(outcomes) and error.fate is Fate.PERMANENT:
            await self._confirm(job, Keep.DROP)  # smtp-server 4.1: nothing is kept
        raise error

    async def _confirm(self, job: _Job, keep: Keep) -> None:
        for recipient in job.recipients:
            await self._ledger.confirm(recipient.key, keep)

    def _write(self, job: _Job, outcome: str, receipt: Receipt | None = None) -> None:
        """The line of this message, at its reply."""
        job.replied = True
        steering = job.prepared.steering
        self._log.info(
            Event.MESSAGE,
            session=job.letter.session_id,
            message=job.letter.message_id,
            outcome=outcome,
            receipt_id="" if receipt is None else receipt.id,
            account_id=job.errand.account_id or job.errand.login.own_account_id,
            size_bytes=steering.size_bytes,
            noted=steering.noted,
            parse_seconds=round(job.prepared.parse_seconds, 6),
            transform_seconds=round(job.prepared.transform_seconds, 6),
            submit_seconds=round(self._clock.monotonic() - job.began, 6),
            total_seconds=self._seconds_since_dot(job.letter),
            **_summary(job.recipients),
        )

    def _write_unprepared(self, letter: Letter, error: BaseException) -> None:
        self._log.info(
            Event.MESSAGE,
            session=letter.session_id,
            message=letter.message_id,
            outcome=type(error).__name__,
            account_id=letter.login.own_account_id,
            size_bytes=len(letter.content),
            recipients=len(letter.recipients),
            total_seconds=self._seconds_since_dot(letter),
        )

    def _write_late(self, job: _Job) -> None:
        """What became of a message after its reply, or after its client had gone."""
        job.errand.log.info(
            Event.LATE_OUTCOME,
            outcome="" if job.error is None else type(job.error).__name__,
            total_seconds=self._seconds_since_dot(job.letter),
            **_summary(job.recipients),
        )

    def _log_defect(self, letter: Letter, error: Exception) -> None:
        self._log.error(
            Event.TASK_FAILED,
            task="message",
            session=letter.session_id,
            message=letter.message_id,
            stack=stack_of(error),
        )

    def _seconds_since_dot(self, letter: Letter) -> float:
        return round(self._clock.monotonic() - letter.received_monotonic, 6)


def _account_key(login: Login, account_id: int | None) -> str:
    """Which account's pressure and ledger this is; a login whose account is unknown is its own."""
    chosen = login.own_account_id if account_id is None else account_id
    return login.key.hex() if chosen is None else str(chosen)


def _outcomes_now(recipients: Sequence[Recipient]) -> list[Outcome]:
    """Every recipient's outcome; what is open at the deadline has one too (smtp-server 4.5)."""
    pending: GatewayError = Unavailable("the deadline passed before the call began")
    if any(recipient.is_under_way for recipient in recipients):
        pending = NotConfirmed("the deadline passed with a call under way")
    return [recipient.outcome or pending for recipient in recipients] or [pending]


def _life(steering: Steering) -> Keep:
    """How long the ledger remembers once the client has its 250 (smtp-server 4.3)."""
    if steering.idempotency_key is not None:
        return Keep.IDEMPOTENT
    # Two identical alerts without a Message-ID are two mails, not a repeat.
    return Keep.AFTER_REPLY if steering.has_own_message_id else Keep.DROP


def _receipt_id(job: _Job) -> str:
    """The API's UUID for one recipient; for several the submission's, of the first try's if any."""
    accepted = [one for one in job.recipients if isinstance(one.outcome, Accepted)]
    if len(job.recipients) == 1 and isinstance(accepted[0].outcome, Accepted):
        return accepted[0].outcome.id
    return accepted[0].submission_id or job.letter.message_id


def _summary(recipients: Sequence[Recipient]) -> dict[str, Any]:
    """The recipients of a message in numbers and ids, for its line in the log."""
    outcomes = [recipient.outcome for recipient in recipients]
    calls = [recipient.call for recipient in recipients if recipient.call is not None]
    return {
        "recipients": len(recipients),
        "api_ids": [outcome.id for outcome in outcomes if isinstance(outcome, Accepted)],
        "refused": sum(
            isinstance(outcome, GatewayError) and outcome.fate is Fate.PERMANENT
            for outcome in outcomes
        ),
        "http_statuses": [status for call in calls for status in call.statuses],
        "request_ids": [call.request_id for call in calls if call.request_id],
    }
