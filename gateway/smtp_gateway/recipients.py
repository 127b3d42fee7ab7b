"""One recipient of one message: what the ledger knows, the call if one is due, what is kept.

The order matters for "never twice": claim, then look into the API's log when an earlier attempt was
never confirmed, then call, then settle, whatever happens in between, cancellation included.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, replace
from typing import Protocol

from smtp_gateway.api.calls import Call, Caller
from smtp_gateway.api.outcomes import Accepted, Failed
from smtp_gateway.api.payload import Payload, head
from smtp_gateway.api.tokens import Login
from smtp_gateway.email.message import Steering
from smtp_gateway.errors import (
    AttachmentRefused,
    ConfigurationRefused,
    ContentRefused,
    Fate,
    Fault,
    GatewayError,
    InternalError,
    NotConfirmed,
    NotPermitted,
    RecipientRefused,
    RefusedUpstream,
    RequestTooLarge,
    SenderRefused,
    SubmissionForbidden,
)
from smtp_gateway.ledger import Entry, Ledger, State
from smtp_gateway.telemetry import Event, Log, Metrics
from smtp_gateway.utils.clock import Clock
from smtp_gateway.utils.stack import stack_of

GRACE_SECONDS = 60.0
"""How long a mail may take to show in the API's log (cakemail-api 7.5.4)."""

REFUSALS: dict[str, type[RefusedUpstream]] = {
    kind.__name__: kind
    for kind in (
        AttachmentRefused,
        ConfigurationRefused,
        ContentRefused,
        RecipientRefused,
        RequestTooLarge,
        SenderRefused,
        SubmissionForbidden,
    )
}
"""What the ledger keeps of a refusal is its class; this gives the reply back."""

Outcome = Accepted | GatewayError


class Lookups(Protocol):
    """The look-ups that delivery needs; see ``smtp_gateway.api.lookups``."""

    async def account(self, login: Login, wanted: int | None) -> int | None: ...  # noqa: D102  # see there
    async def sender(  # noqa: D102  # see there
        self,
        login: Login,
        account: int | None,
        address: str,
        sender_id: str | None = None,
        fallback: str | None = None,
    ) -> str: ...
    def forget_sender(self, login: Login, account: int | None, sender_id: str) -> None: ...  # noqa: D102  # see there
    async def mailing_list(self, login: Login, account: int | None) -> int | None: ...  # noqa: D102  # see there
    async def find_submitted(  # noqa: D102  # see there
        self,
        login: Login,
        account: int | None,
        recipient: str,
        message_id: str,
        since_wall: float,
    ) -> str | None: ...


@dataclass(slots=True)
class Errand:
    """What all recipients of one message share.

    Attributes:
        login: who sends.
        submission_id: the gateway's id of the message.
        steering: as the message says.
        payload: what is sent.
        deadline: monotonic.
        session_id: for the log.
        base_log: not yet bound: most messages have nothing to say but their one line.
        may_send_twice: send again after an unconfirmed attempt that cannot be looked up.
        account_id: selected account, None for the login's own.
        account: key of the account, for the ledger and for pressure.
        sender_id: found by the look-up.
        list_id: named or found.
    """

    login: Login
    submission_id: str
    steering: Steering
    payload: Payload
    deadline: float
    session_id: str
    base_log: Log
    may_send_twice: bool = False
    account_id: int | None = None
    account: Hashable = None
    sender_id: str = ""
    list_id: int | None = None

    @property
    def log(self) -> Log:
        """The log with the session's and the message's id."""
        return self.base_log.bind(session=self.session_id, message=self.submission_id)


@dataclass(slots=True)
class Recipient:
    """One distinct recipient.

    Attributes:
        address: normalised.
        key: in the ledger.
        outcome: None until it is known.
        submission_id: of the message that was accepted, perhaps an earlier try of the client.
        owned: this message holds the ledger's claim.
        before: what the ledger held when the claim was taken: an unconfirmed attempt, or nothing.
        call: once it is due.
        waits: an earlier try of the client has its call under way; this one waits for its end.
    """

    address: str
    key: bytes
    outcome: Outcome | None = None
    submission_id: str = ""
    owned: bool = False
    before: Entry | None = None
    call: Call | None = None
    waits: bool = False

    @property
    def is_under_way(self) -> bool:
        """A request is out and its answer not known, be it this message's or an earlier try's."""
        if self.outcome is not None:
            return False
        return self.waits or (self.call is not None and self.call.in_flight)


class Recipients:
    """Carries out one recipient's part.

    Args:
        caller: makes the call.
        ledger: remembers.
        lookups: searches the API's log.
        metrics: recipients by outcome.
        clock: monotonic and wall.
        grace_seconds: see ``GRACE_SECONDS``.
    """

    def __init__(
        self,
        caller: Caller,
        ledger: Ledger,
        lookups: Lookups,
        metrics: Metrics,
        clock: Clock,
        *,
        grace_seconds: float = GRACE_SECONDS,
    ) -> None:
        self._caller = caller
        self._ledger = ledger
        self._lookups = lookups
        self._clock = clock
        self._grace_seconds = grace_seconds
        self._forwarded = metrics.emails_forwarded

    async def claim(self, recipient: Recipient) -> None:
        """Take the claim, or the outcome that is known; neither while another call runs."""
        claim = await self._ledger.claim(recipient.key)
        if claim.mine:
            recipient.owned = True
            recipient.before = claim.before
        elif claim.before is not None and claim.before.state is not State.IN_FLIGHT:
            _recall(recipient, claim.before)

    async def release(self, recipients: Iterable[Recipient]) -> None:
        """Settle claims whose call was never made."""
        for recipient in recipients:
            if recipient.owned:
                await self._settle(recipient, None)

    async def run(self, recipient: Recipient, errand: Errand) -> None:
        """Bring one recipient to its outcome; returns without raising unless cancelled."""
        try:
            await self._await_other(recipient, errand)
            if recipient.owned:
                outcome = await self._send(recipient, errand)
                recipient.outcome = outcome
                self._report(recipient, errand, outcome)
        except GatewayError as error:
            recipient.outcome = error
        except Exception as error:  # noqa: BLE001  # a defect of ours ends one recipient, as temporary
            recipient.outcome = _defect(recipient, errand, error)
        finally:
            if recipient.owned:
                await self._settle(recipient, errand)

    async def _await_other(self, recipient: Recipient, errand: Errand) -> None:
        while not recipient.owned and recipient.outcome is None:
            left = errand.deadline - self._clock.monotonic()
            if left <= 0:
                raise NotConfirmed("an earlier call is still under way")
            recipient.waits = True
            await self._ledger.wait(recipient.key, timeout_seconds=left)
            recipient.waits = False
            await self.claim(recipient)

    async def _send(self, recipient: Recipient, errand: Errand) -> Outcome:
        if recipient.before is not None:
            found = await self._search(recipient, recipient.before, errand)
            if found is not None:
                recipient.submission_id = recipient.before.submission_id
                return Accepted(found)
        call = recipient.call = self._call(recipient, errand)
        verdict = await self._caller.run(call)
        if isinstance(verdict, Accepted):
            recipient.submission_id = errand.submission_id
            return verdict
        self._note_sender(verdict, errand)
        return verdict.error

    def _call(self, recipient: Recipient, errand: Errand) -> Call:
        return Call(
            login=errand.login,
            account_id=errand.account_id,
            account=errand.account,
            head=head(
                email=recipient.address,
                sender_id=errand.sender_id,
                sender_name=errand.steering.sender_name,
                list_id=errand.list_id,
            ),
            payload=errand.payload,
            deadline=errand.deadline,
            session_id=errand.session_id,
            message_id=errand.submission_id,
        )

    async def _search(self, recipient: Recipient, before: Entry, errand: Errand) -> str | None:
        """The id of an earlier, unconfirmed attempt, or None when a new one may be made.

        Raises:
            NotConfirmed: neither may be said yet (cakemail-api 7.5.3-5).
        """
        try:
            found = await self._find(recipient, before, errand)
        except NotPermitted as error:
            if not errand.may_send_twice:
                raise NotConfirmed("the log may not be read") from error
            found = None
        except GatewayError as error:
            raise NotConfirmed(f"the log was not read: {type(error).__name__}") from error
        if found is None and self._is_recent(before):
            raise NotConfirmed("not in the log yet")
        return found

    async def _find(self, recipient: Recipient, before: Entry, errand: Errand) -> str | None:
        # An earlier attempt than the last may show late; the search covers a time around each.
        for since in sorted({before.first_attempt_wall, before.last_attempt_wall}):
            found = await self._lookups.find_submitted(
                errand.login, errand.account_id, recipient.address, before.message_id, since
            )
            if found is not None:
                return found
        return None

    def _is_recent(self, before: Entry) -> bool:
        return self._clock.wall() - before.last_attempt_wall <= self._grace_seconds

    def _note_sender(self, failed: Failed, errand: Errand) -> None:
        if failed.drops_sender:
            self._lookups.forget_sender(errand.login, errand.account_id, errand.sender_id)

    def _report(self, recipient: Recipient, errand: Errand, outcome: Outcome) -> None:
        if isinstance(outcome, Accepted):
            self._forwarded["success"].inc()
            return
        self._forwarded["unknown" if outcome.fate is Fate.AMBIGUOUS else "failed"].inc()
        call = recipient.call
        if outcome.fate is Fate.PERMANENT and call is not None:
            write = errand.log.error if outcome.fault is Fault.OURS else errand.log.info
            write(
                Event.RECIPIENT_REFUSED,
                kind=type(outcome).__name__,
                http_statuses=call.statuses,
                request_id=call.request_id,
                excerpt=outcome.facts.get("excerpt", ""),
            )

    async def _settle(self, recipient: Recipient, errand: Errand | None) -> None:
        recipient.owned = False
        entry = recipient.before if errand is None else self._entry(recipient, errand)
        await self._ledger.settle(recipient.key, entry)

    def _entry(self, recipient: Recipient, errand: Errand) -> Entry | None:
        outcome, call = recipient.outcome, recipient.call
        if isinstance(outcome, Accepted):
            return Entry(State.ACCEPTED, submission_id=recipient.submission_id, api_id=outcome.id)
        if isinstance(outcome, RefusedUpstream):
            return Entry(State.REFUSED, refusal=type(outcome).__name__)
        if call is not None and (call.in_flight or isinstance(outcome, NotConfirmed)):
            return _unknown(recipient, errand, call)
        return recipient.before  # certainly not accepted by this call; an older one stays unknown


def _unknown(recipient: Recipient, errand: Errand, call: Call) -> Entry:
    message_id, before = errand.steering.message_id, recipient.before
    if before is None or before.message_id != message_id:  # an idempotency key, another content
        before = Entry(
            State.UNKNOWN,
            submission_id=errand.submission_id,
            message_id=message_id,
            first_attempt_wall=call.attempt_wall,
        )
    return replace(before, last_attempt_wall=call.attempt_wall)


def _recall(recipient: Recipient, entry: Entry) -> None:
    recipient.submission_id = entry.submission_id
    if entry.state is State.ACCEPTED:
        recipient.outcome = Accepted(entry.api_id)
    else:
        recipient.outcome = REFUSALS.get(entry.refusal, ContentRefused)("remembered")


def _defect(recipient: Recipient, errand: Errand, error: Exception) -> GatewayError:
    """A defect in the middle of a call; what went out stays unconfirmed."""
    errand.log.error(Event.TASK_FAILED, task="recipient", stack=stack_of(error))
    if recipient.is_under_way:
        return NotConfirmed("a defect while the call was under way")
    return InternalError("a defect before the call")
